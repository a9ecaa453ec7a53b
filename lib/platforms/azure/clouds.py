"""Azure's clouds: where to sign in, and which audience manages resources. AZUREML_CURRENT_CLOUD chooses one."""

from lib.settings import Env

AUTHORITIES = {
    "AzureCloud": "https://login.microsoftonline.com",
    "AzureUSGovernment": "https://login.microsoftonline.us",
    "AzureChinaCloud": "https://login.chinacloudapi.cn",
}
MANAGEMENT = {
    "AzureCloud": "https://management.core.windows.net/",
    "AzureUSGovernment": "https://management.core.usgovcloudapi.net/",
    "AzureChinaCloud": "https://management.core.chinacloudapi.cn/",
}


def authority(env: Env) -> str:
    """Return the address at which this cloud's users and principals sign in."""
    return AUTHORITIES[env.azureml_current_cloud]


def management(env: Env) -> str:
    """Return the audience of tokens for this cloud's resource manager."""
    return MANAGEMENT[env.azureml_current_cloud]
