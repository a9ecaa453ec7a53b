"""Settings of Azure ML: the workspace, its compute targets, and the resources of services."""

from typing import Literal

import msgspec

from lib.settings.fields import Above0, ComputeName, Name, Percent, Positive, Struct


class Workspace(Struct, frozen=True):
    """config.json, which Azure ML can download: the workspace.

    Only Azure needs it, and the location only to create the workspace: what the portal downloads has none.
    """

    subscription_id: str = ""
    resource_group: str = ""
    workspace_name: str = ""
    location: str = ""


class AksWebservice(Struct, frozen=True):
    """aks_webservice.json, which is optional: an existing AKS cluster and service."""

    aks_name: str | None = None
    aks_service_name: Name | None = None


class AciContainer(Struct, frozen=True, tag="aci"):
    """A service on Azure Container Instances; an empty location means that of the workspace.

    `tls` is "custom" (the certificate of .env, for the name `tls_host`) or "none". Without it, the address is http, and
    `invoke doctor` warns.
    """

    cpu_cores: Above0 = 1.0
    memory_gb: Above0 = 1.0
    location: str = ""
    tls: Literal["custom", "none"] | None = None
    tls_host: str | None = None


class Autoscale(Struct, frozen=True):
    """The limits of the number of replicas, and the utilisation at which AKS starts more of them."""

    min_replicas: Positive = 1
    max_replicas: Positive = 10
    target_percent: Percent = 70


class AksContainers(Struct, frozen=True, tag="aks"):
    """A service on an AKS cluster, with a fixed number of replicas or `autoscale`.

    `tls` is as for ACI, or "auto": a new cluster gets Microsoft's certificate. All services of a cluster share it.
    """

    cpu_cores: Above0 = 0.5
    memory_gb: Above0 = 1.0
    replicas: Positive = 2
    autoscale: Autoscale | None = None
    tls: Literal["auto", "custom", "none"] | None = None
    tls_host: str | None = None


class Cluster(Struct, frozen=True):
    """The AmlCompute cluster that trains if train.compute is `cluster`; it scales down to zero nodes."""

    name: ComputeName = "training"
    vm_size: str = "Standard_DS2_v2"
    max_nodes: Positive = 1
    idle_s: Positive = 300


class AksCluster(Struct, frozen=True):
    """The AKS cluster of the production service; an empty location means that of the workspace."""

    name: ComputeName = "release-aks"
    vm_size: str = "Standard_D3_v2"
    nodes: Positive = 3
    location: str = ""


class Azureml(Struct, frozen=True):
    """Azure ML. `create` lists what a release may create, since it costs money: workspace, cluster, aks.

    `owner` distinguishes this release's resources from those of another release of the same model. `tags` are set on
    the resources that a release creates, as company policies may require.
    """

    create: list[Literal["workspace", "cluster", "aks"]] = msgspec.field(default_factory=list)
    owner: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    vm: ComputeName = "training-vm"
    cluster: Cluster = Cluster()
    aks: AksCluster = AksCluster()
    build_timeout_s: Above0 = 3600
    deploy_timeout_s: Above0 = 1800
