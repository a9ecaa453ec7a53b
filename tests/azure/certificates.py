"""A throw-away certificate authority that vouches for Azure's host names to whoever is told to trust it."""

import datetime
import ssl
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=7)


class Authority:
    """Keeps its own certificate in `folder / "ca.pem"` and makes one for each host when it is first asked for.

    `others` has the certificates, with their keys, of hosts that brought their own.
    """

    def __init__(self, folder: Path, others: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.others = {} if others is None else others
        self.file = folder / "ca.pem"
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Loopback Azure, for tests only")])
        self.certificate = self.sign(self.name, self.key.public_key(), authority=True)
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.host_key = ec.generate_private_key(ec.SECP256R1())
        self.contexts: dict[str, ssl.SSLContext] = {}
        self.lock = threading.Lock()

    def sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, host: str = "", authority: bool = False
    ) -> x509.Certificate:
        """Sign a certificate, for a host or for the authority itself."""
        now = datetime.datetime.now(datetime.UTC)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer, critical=False)
            .add_extension(usage(authority), critical=True)
        )
        if host:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False
            ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, host: str) -> str:
        """Return a new certificate for a host, with its key."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
        certificate = self.sign(subject, self.host_key.public_key(), host)
        encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        key = self.host_key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
        return (key + certificate.public_bytes(encoding)).decode()

    def context(self, host: str) -> ssl.SSLContext:
        """Return the TLS settings of a server that is this host."""
        with self.lock:
            if host not in self.contexts:
                file = self.folder / f"{host}.pem"
                file.write_text(self.others.get(host) or self.issue(host))
                self.contexts[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self.contexts[host].load_cert_chain(file)
            return self.contexts[host]


def usage(authority: bool) -> x509.KeyUsage:
    """Say what a key is for."""
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
