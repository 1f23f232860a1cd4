"""What Flex Consumption refuses, or takes and does not heed: app settings, and properties of a site.

From "Flex Consumption plan deprecations" in Microsoft's reference of app settings (learn.microsoft.com,
azure-functions/functions-app-settings) and the filter in its guide for moving an app there; the last property from
the refusal quoted in microsoft/azure-pipelines-tasks#21032, which names ftpsState and use32BitWorkerProcess as well.
"""

from __future__ import annotations

from collections.abc import Iterator

from local.infra.bicep import BicepFile, line, properties, walk
from local.infra.findings import Finding

_RUNTIME = "Flex Consumption has it in functionAppConfig.runtime"
_SCALE = "Flex Consumption has it in functionAppConfig.scaleAndConcurrency"
_BUILD = "Flex Consumption is told with the deployment"
_SHARE = "there is no content share on Flex Consumption"
_NETWORK = "Flex Consumption routes all traffic through the app's virtual network, when it has one"
_UNKNOWN = "Flex Consumption knows no such thing"

SETTINGS = {
    "ENABLE_ORYX_BUILD": _BUILD,
    "FUNCTIONS_EXTENSION_VERSION": "Flex Consumption sets it itself",
    "FUNCTIONS_MAX_HTTP_CONCURRENCY": _SCALE,
    "FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED": _UNKNOWN,
    "FUNCTIONS_WORKER_PROCESS_COUNT": _UNKNOWN,
    "FUNCTIONS_WORKER_RUNTIME": _RUNTIME,
    "FUNCTIONS_WORKER_RUNTIME_VERSION": _RUNTIME,
    "SCM_DO_BUILD_DURING_DEPLOYMENT": _BUILD,
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING": _SHARE,
    "WEBSITE_CONTENTOVERVNET": _SHARE,
    "WEBSITE_CONTENTSHARE": _SHARE,
    "WEBSITE_DNS_SERVER": _NETWORK,
    "WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT": _SCALE,
    "WEBSITE_MOUNT_ENABLED": _UNKNOWN,
    "WEBSITE_NODE_DEFAULT_VERSION": _RUNTIME,
    "WEBSITE_RUN_FROM_PACKAGE": "Flex Consumption deploys from functionAppConfig.deployment",
    "WEBSITE_SKIP_CONTENTSHARE_VALIDATION": _SHARE,
    "WEBSITE_TIME_ZONE": "Flex Consumption runs in UTC",
    "WEBSITE_USE_PLACEHOLDER_DOTNETISOLATED": _UNKNOWN,
    "WEBSITE_VNET_ROUTE_ALL": _NETWORK,
}
"""App settings that Flex Consumption refuses or does not heed, each with what is to be done instead."""

PROPERTIES = {
    "alwaysOn": _SCALE,
    "containerSize": _SCALE,
    "ftpsState": "there is no FTP on Flex Consumption",
    "functionAppScaleLimit": _SCALE,
    "isReserved": _UNKNOWN,
    "isXenon": _UNKNOWN,
    "javaVersion": _RUNTIME,
    "linuxFxVersion": _RUNTIME,
    "minimumElasticInstanceCount": _SCALE,
    "netFrameworkVersion": _RUNTIME,
    "nodeVersion": _RUNTIME,
    "powerShellVersion": _RUNTIME,
    "preWarmedInstanceCount": _SCALE,
    "pythonVersion": _RUNTIME,
    "use32BitWorkerProcess": _UNKNOWN,
    "vnetBackupRestoreEnabled": _NETWORK,
    "vnetContentShareEnabled": _SHARE,
    "vnetImagePullEnabled": _NETWORK,
    "vnetRouteAllEnabled": _NETWORK,
    "windowsFxVersion": _RUNTIME,
    "functionsRuntimeScaleMonitoringEnabled": _SCALE,
}
"""Properties of a site or its siteConfig that Flex Consumption refuses or does not heed, in any case of letters."""

_BY_NAME = {name.lower(): reason for name, reason in PROPERTIES.items()}
_SITES = ("Microsoft.Web/sites", "Microsoft.Web/sites/config", "Microsoft.Web/serverfarms")


def check(file: BicepFile) -> Iterator[Finding]:
    """No site says what belongs to another plan: the deployment would fail at it, or it would do nothing."""
    for type_name in _SITES:
        for each in file.resources(type_name):
            for node in (node for node in walk(each.body) if node.type == "object"):
                for name, (where, _) in properties(node).items():
                    if name.lower() in _BY_NAME:
                        yield Finding(file.name, line(where), f"{name} must not be set: {_BY_NAME[name.lower()]}")
