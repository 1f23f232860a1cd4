"""Each mistake that is made in a copy of our own files is found, at its file and line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from local import ROOT
from local.infra import flex
from local.infra.__main__ import main
from local.infra.check import check, fix


class Mistake(NamedTuple):
    """`old` in `file` becomes `new`; the finding is in `said_in` (default: there), on the line of `at`."""

    file: str
    old: str
    new: str
    says: str
    at: str = ""
    said_in: str = ""


MAIN, APP, STORAGE = "infra/main.bicep", "infra/modules/app.bicep", "infra/modules/storage.bicep"
AUTH, ROLES, MONITORING = (
    "infra/modules/auth.bicep",
    "infra/modules/storage-access.bicep",
    "infra/modules/monitoring.bicep",
)
PROFILES = "infra/profiles.json"
TELEMETRY, PARAMETERS = "infra/modules/telemetry-access.bicep", "infra/main.parameters.json"
SETTINGS = "shared/settings.py"

MISTAKES = {
    "a module parameter is missing": Mistake(
        MAIN,
        "    container: deploymentContainer\n  }\n}\n\nmodule telemetry",
        "  }\n}\n\nmodule telemetry",
        "lacks the parameter",
        at="module packageAccess ",
    ),
    "a module parameter is unknown": Mistake(
        MAIN,
        "    sku: storageSku\n",
        "    sku: storageSku\n    size: storageSku\n",
        "has no parameter 'size'",
        at="size:",
    ),
    "a module parameter has another type": Mistake(
        MAIN, "httpConcurrency: httpConcurrency", "httpConcurrency: 'many'", "must be of type int", at="'many'"
    ),
    "a module is not there": Mistake(
        MAIN, "'modules/auth.bicep'", "'modules/authn.bicep'", "there is no 'modules/authn.bicep'", at="authn"
    ),
    "a module has no scope": Mistake(
        MAIN, "  name: 'identity'\n  scope: group\n", "  name: 'identity'\n", "needs a scope", at="module identity "
    ),
    "an output is not there": Mistake(
        MAIN, "identity.outputs.clientId", "identity.outputs.client", "has no output 'client'", at="outputs.client"
    ),
    "an output is dead": Mistake(
        STORAGE,
        "output name string = account.name",
        "output name string = account.name\n\n@description('Id.')\noutput id string = account.id",
        "output 'id' is used nowhere",
        at="output id",
    ),
    "a module is dead": Mistake(
        MAIN,
        "'modules/network.bicep'",
        "'modules/monitoring.bicep'",
        "no template uses this module",
        said_in="infra/modules/network.bicep",
    ),
    "a parameter is dead": Mistake(
        MAIN,
        "location: empty(openAiLocation) ? location : openAiLocation",
        "location: location",
        "parameter 'openAiLocation' is used nowhere",
        at="param openAiLocation",
    ),
    "a variable is dead": Mistake(
        MAIN,
        "var openAiExists",
        "var spare = 'x'\nvar openAiExists",
        "variable 'spare' is used nowhere",
        at="var spare",
    ),
    "a parameter is not described": Mistake(
        STORAGE, "@description('Redundancy.')\n", "", "has no @description", at="param sku"
    ),
    "a default is not allowed": Mistake(
        MAIN, "instanceMemoryMB int = 0", "instanceMemoryMB int = 1024", "not among its @allowed", at="int = 1024"
    ),
    "a default breaks its limits": Mistake(
        MAIN, "logRetentionDays int = 30", "logRetentionDays int = 7", "breaks its @minValue", at="int = 7"
    ),
    "a name is misspelt": Mistake(
        APP, "serverFarmId: plan.id", "serverFarmId: plam.id", "nothing declares 'plam'", at="plam.id"
    ),
    "the syntax is wrong": Mistake(
        STORAGE, "kind: 'StorageV2'", "kind: 'StorageV2", "syntax error", at="kind: 'StorageV2"
    ),
    "a brace is missing": Mistake(
        MONITORING, "sku: { name: 'PerGB2018' }", "sku: { name: 'PerGB2018' ", "syntax error", at=""
    ),
    "a role has another's id": Mistake(
        ROLES,
        "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
        "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
        "the id of 'Storage Queue Data Contributor' is 974c5e8b",
        at="Queue Data",
    ),
    "a role is too much": Mistake(
        TELEMETRY,
        "'Monitoring Metrics Publisher': '",
        "Owner: '8e3af657-a8ff-443c-a75c-2fe8c4bcb635'\n  'Monitoring Metrics Publisher': '",
        "not under the name of a role",
        at="8e3af657",
    ),
    "a role is missing": Mistake(
        ROLES,
        "  'Storage Table Data Contributor': '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'\n",
        "",
        "nothing assigns the role 'Storage Table Data Contributor'",
        said_in=MAIN,
    ),
    "shared keys are allowed": Mistake(
        STORAGE,
        "allowSharedKeyAccess: false",
        "allowSharedKeyAccess: true",
        "allowSharedKeyAccess must be false",
        at="allowSharedKeyAccess",
    ),
    "shared keys are not spoken of": Mistake(
        STORAGE, "    allowSharedKeyAccess: false\n", "", "lacks properties.allowSharedKeyAccess", at="resource account"
    ),
    "an old TLS is allowed": Mistake(STORAGE, "'TLS1_2'", "'TLS1_0'", "minimumTlsVersion must be", at="TLS1_0"),
    "telemetry goes by key": Mistake(
        MONITORING,
        "DisableLocalAuth: true",
        "DisableLocalAuth: false",
        "DisableLocalAuth must be true",
        at="DisableLocalAuth",
    ),
    "a key is listed": Mistake(
        APP,
        "insightsConnectionString\n  APPLICATIONINSIGHTS_AUTH",
        "listKeys(storage.id)\n  APPLICATIONINSIGHTS_AUTH",
        "'listKeys' is no function",
        at="listKeys",
    ),
    "API versions differ": Mistake(
        ROLES, "storageAccounts@2023-05-01", "storageAccounts@2022-09-01", "is 2023-05-01 elsewhere", at="2022-09-01"
    ),
    "a setting that nobody reads": Mistake(
        APP,
        "  DORMOUSE_DRIVER: driver\n",
        "  DORMOUSE_DRIVER: driver\n  DORMOUSE_DRIVERS: driver\n",
        "nothing reads DORMOUSE_DRIVERS",
        at="DORMOUSE_DRIVERS",
    ),
    "a setting with a value that it cannot have": Mistake(
        APP, "'appservice' : 'key'", "'appservice' : 'none'", "DORMOUSE_AUTH cannot be 'none'", at="DORMOUSE_AUTH"
    ),
    "a setting that nobody sets": Mistake(
        SETTINGS,
        'None, alias="OPENAI_BASE_URL"',
        'alias="OPENAI_BASE_URL"',
        "OPENAI_BASE_URL has no default and no template sets it",
        at="openai_base_url: ",
    ),
    "a setting that Azure needs and nobody sets": Mistake(
        APP, "  AZURE_CLIENT_ID: identityClientId\n", "", "AZURE_CLIENT_ID is needed in Azure", at="resource settings"
    ),
    "a setting that Flex refuses": Mistake(
        APP,
        "  PYTHON_ENABLE_INIT_INDEXING: '1'\n",
        "  PYTHON_ENABLE_INIT_INDEXING: '1'\n  FUNCTIONS_WORKER_RUNTIME: 'python'\n",
        "FUNCTIONS_WORKER_RUNTIME must not be set",
        at="FUNCTIONS_WORKER_RUNTIME",
    ),
    "a setting of the platform": Mistake(
        APP,
        "var ownDomain = {\n",
        "var ownDomain = {\n  WEBSITE_AUTH_ENABLED: 'true'\n",
        "set by the platform itself",
        at="WEBSITE_AUTH_ENABLED",
    ),
    "too few threads": Mistake(
        PROFILES,
        '"PYTHON_THREADPOOL_THREAD_COUNT": "42"',
        '"PYTHON_THREADPOOL_THREAD_COUNT": "41"',
        "medium: up to 42 functions",
        at='"medium"',
    ),
    "a profile's driver is none": Mistake(
        PROFILES, '"driver": "durable"', '"driver": "queue"', 'small: driver cannot be "queue"', at='"small"'
    ),
    "a profile's memory is none that the platform has": Mistake(
        PROFILES, '"instanceMemoryMB": 512', '"instanceMemoryMB": 1024', "small: instanceMemoryMB cannot be 1024"
    ),
    "a profile sets what nobody reads": Mistake(
        PROFILES, "DORMOUSE_PROVIDER_CONCURRENCY", "DORMOUSE_PROVIDER_SLOTS", "small: nothing reads DORMOUSE_PROVIDER_S"
    ),
    "a profile has too many partitions": Mistake(
        PROFILES, '"partitionCount": 16', '"partitionCount": 17', "large: a hub has 1 to 16 partitions", at='"large"'
    ),
    "a profile leaves a driver without a sweep": Mistake(
        PROFILES, '"timer": {', '"timers": {', "small: sweep must say something for each driver"
    ),
    "a profile does not set what is needed": Mistake(
        PROFILES,
        '"PYTHON_THREADPOOL_THREAD_COUNT": "90"',
        '"PYTHON_THREADS": "90"',
        "THREAD_COUNT is needed",
        said_in=APP,
    ),
    "a profile's number is a text": Mistake(
        PROFILES, '"partitionCount": 1,', '"partitionCount": "1",', "small: a value is of another kind", at='"small"'
    ),
    "two profiles share a hub": Mistake(
        PROFILES, '"hubName": "dormouse16"', '"hubName": "dormouse4"', "cannot have two numbers of partitions", at="hub"
    ),
    "a profile is not offered": Mistake(
        MAIN,
        "'medium', 'large'",
        "'medium'",
        "the profiles of infra/profiles.json are small, medium, large",
        at="param p",
    ),
    "another profile is the default": Mistake(
        MAIN,
        "profile string = 'medium'",
        "profile string = 'small'",
        "the default profile is medium",
        at="param profile",
    ),
    "the profiles are no JSON": Mistake(PROFILES, "{", "{,", "cannot be read", at="{"),
    "host.json is that of no profile": Mistake(
        "host.json", '"partitionCount": 4', '"partitionCount": 5', "is that of no profile", at="{"
    ),
    "azd packs without the profile": Mistake(
        "azure.yaml", "python dev.py profile", "python dev.py check", "must run `dev.py profile`", at="  api:"
    ),
    "the gate redirects": Mistake(AUTH, "'Return401'", "'RedirectToLoginPage'", "must be Return401", at="Redirect"),
    "the gate shuts out liveness": Mistake(
        AUTH,
        "        '/api/health'\n",
        "",
        "/api/health is anonymous",
        at='route="api/health"',
        said_in="function_app.py",
    ),
    "host.json has a comment": Mistake(
        "host.json", '  "functionTimeout"', '  // half an hour\n  "functionTimeout"', "not strict JSON", at="// half"
    ),
    "host.json says a thing twice": Mistake(
        "host.json", '  "version": "2.0",', '  "version": "2.0",\n  "version": "2.0",', "is there twice", at='"version"'
    ),
    "the function timeout differs": Mistake(
        "host.json", "00:30:00", "00:10:00", "is not FUNCTION_TIMEOUT_SECONDS", at="functionTimeout"
    ),
    "the hub's name is not valid": Mistake(
        "host.json", '"hubName": "dormouse4"', '"hubName": "dormouse-hub"', "3 to 45 letters and digits", at="hubName"
    ),
    "there is a route prefix": Mistake(
        "host.json", '"routePrefix": ""', '"routePrefix": "api"', "must be empty", at="Prefix"
    ),
    "the service's tag differs": Mistake(
        "azure.yaml", "  api:\n", "  web:\n", "no template has the tag `azd-service-name: web`", at="  web:"
    ),
    "the tag's service differs": Mistake(
        MAIN,
        "'azd-service-name': 'api'",
        "'azd-service-name': 'web'",
        "azure.yaml has no service 'web'",
        at="azd-service-name'",
    ),
    "the resource group has no tag": Mistake(MAIN, "'azd-env-name'", "'env-name'", "tag `azd-env-name`"),
    "azure.yaml names another template": Mistake(
        "azure.yaml", "  module: main\n", "  module: app\n", "there is no infra/app.bicep", at="infra:"
    ),
    "azure.yaml names another folder": Mistake(
        "azure.yaml", "project: .", "project: src", "has no host.json", at="  api:"
    ),
    "a setting that Flex refuses is passed on": Mistake(
        PARAMETERS,
        '"DORMOUSE_MAX_TURNS":',
        '"WEBSITE_TIME_ZONE": "UTC",\n        "DORMOUSE_MAX_TURNS":',
        "WEBSITE_TIME_ZONE must not be set",
        at="TIME_ZONE",
    ),
    "a setting that nobody reads is passed on": Mistake(
        PARAMETERS,
        '"DORMOUSE_MAX_TURNS":',
        '"DORMOUSE_TURNS": "2",\n        "DORMOUSE_MAX_TURNS":',
        "nothing reads DORMOUSE_TURNS",
        at="_TURNS",
    ),
    "a setting is not passed on": Mistake(
        PARAMETERS,
        '        "DORMOUSE_MAX_TURNS": "${DORMOUSE_MAX_TURNS}",\n',
        "",
        "appSettings lacks DORMOUSE_MAX_TURNS",
    ),
    "a setting is passed on from another's variable": Mistake(
        PARAMETERS, '"${DORMOUSE_MAX_TURNS}"', '"${DORMOUSE_MAX_TURN}"', "DORMOUSE_MAX_TURNS is not", at="MAX_TURN}"
    ),
    "a parameter's variable is a setting's name": Mistake(
        PARAMETERS,
        "${DORMOUSE_ALERT_EMAIL}",
        "${DORMOUSE_MAX_TURNS}",
        "is also a parameter's variable",
        at="alertEmail",
    ),
    "the sample lacks a setting": Mistake(
        "local.settings.sample.json", '    "DORMOUSE_MAX_TURNS": "",\n', "", "DORMOUSE_MAX_TURNS is missing"
    ),
    "the model has no version": Mistake(
        MAIN, "openAiModelVersion string = '2026-03-17'", "openAiModelVersion string = 'latest'", "has no version"
    ),
    "azd asks for another model's quota": Mistake(
        MAIN, "GlobalStandard.gpt-5.4-mini, 50", "GlobalStandard.gpt-5-mini, 50", "usageName must be", at="usageName"
    ),
    "azd asks for less than is deployed": Mistake(
        MAIN, "GlobalStandard.gpt-5.4-mini, 50", "GlobalStandard.gpt-5.4-mini, 10", "usageName must be", at="usageName"
    ),
    "the deployment is named after another model": Mistake(
        MAIN,
        "openAiDeployment string = 'gpt-5.4-mini'",
        "openAiDeployment string = 'gpt'",
        "is not named",
        at="= 'gpt'",
    ),
    "a parameter is given that is not there": Mistake(
        "infra/main.parameters.json", '"storageSku"', '"storageSize"', "no parameter 'storageSize'", at="storageSize"
    ),
    "a default differs in the parameters": Mistake(
        "infra/main.parameters.json", "CONCURRENCY=32", "CONCURRENCY=1", "differs from main.bicep's", at="CONCURRENCY"
    ),
    "a parameter is not given": Mistake(
        "infra/main.parameters.json",
        '    "location": { "value": "${AZURE_LOCATION}" },\n',
        "",
        "'location' has no default",
    ),
    "Python is one that CI does not test": Mistake(
        APP, "'3.12'", "'3.13'", "not among those that CI tests", at="'3.13'"
    ),
    "Python differs from the package's": Mistake(
        "local/packaging/package.py",
        'PYTHON_VERSION = "3.12"',
        'PYTHON_VERSION = "3.11"',
        "packs for Python 3.11",
        at="PYTHON_VERSION = ",
    ),
    "everything is published": Mistake(".funcignore", "\n*\n", "\n", "would let shared/key.pem into the package"),
    "the code is not published": Mistake(".funcignore", "!/shared/*.py\n", "", "out of the package"),
    "a folder is let in for Core Tools": Mistake(
        ".funcignore", "!/[s]hared/\n", "!/shared\n", "Core Tools would let shared/.env into the package"
    ),
    "the folder is not let in for azd": Mistake(
        ".funcignore", "!/[s]hared/\n!/[s]hared/**/\n", "", "azd would keep shared/errors.py out of the package"
    ),
    "azd may be too old for the list of what ships": Mistake(
        "azure.yaml", '  azd: ">= 1.23.13"', '  azd: ">= 1.20.0"', "older ones drop what `!` lets in"
    ),
    "an action is pinned by a tag": Mistake(
        ".github/workflows/ci.yml",
        "Azure/setup-azd@0b7e3a35ab00f2eee7080c845eb39c3f0ebfa553 #",
        "Azure/setup-azd@v2 #",
        "an action must be",
        at="setup-azd",
    ),
    "an action is pinned without its version": Mistake(
        ".github/workflows/ci.yml",
        "0b7e3a35ab00f2eee7080c845eb39c3f0ebfa553 # v2.4.0",
        "0b7e3a35ab00f2eee7080c845eb39c3f0ebfa553",
        "an action must be",
        at="setup-azd",
    ),
}


def test_our_own_files_have_no_mistake() -> None:
    assert [str(finding) for finding in check(ROOT)] == []


def test_the_copy_has_no_mistake_either(project: Path) -> None:
    assert check(project) == []


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.slow
def test_a_mistake_is_found_where_it_is(name: str, project: Path) -> None:
    mistake = MISTAKES[name]
    path = project / mistake.file
    before = path.read_text("utf-8")
    assert mistake.old in before, "the test has fallen behind the file"
    path.write_text(before.replace(mistake.old, mistake.new, 1), "utf-8")

    found = [each for each in check(project) if mistake.says in each.text]

    said_in = mistake.said_in or mistake.file
    assert said_in in {each.file for each in found}, [str(each) for each in check(project)]
    if mistake.at:
        lines = (project / said_in).read_text("utf-8").splitlines()
        assert mistake.at in "\n".join(lines[each.line - 1] for each in found if each.file == said_in)


def test_every_setting_that_flex_refuses_is_found(project: Path) -> None:
    path = project / APP
    planted = "".join(f"  {name}: '1'\n" for name in flex.SETTINGS)
    path.write_text(path.read_text("utf-8").replace("var always = {\n", "var always = {\n" + planted, 1), "utf-8")
    found = {each.text for each in check(project) if each.file == APP}
    assert found == {f"{name} must not be set: {reason}" for name, reason in flex.SETTINGS.items()}


@pytest.mark.parametrize("place", ["    siteConfig: {\n", "    httpsOnly: true\n"])
def test_every_property_that_flex_refuses_is_found(place: str, project: Path) -> None:
    path = project / APP
    text = path.read_text("utf-8")
    assert place in text, "the test has fallen behind the file"
    planted = "".join(f"      {name}: 'x'\n" for name in flex.PROPERTIES)
    path.write_text(text.replace(place, place + planted, 1), "utf-8")
    found = {each.text for each in check(project)}
    assert found == {f"{name} must not be set: {reason}" for name, reason in flex.PROPERTIES.items()}


def test_a_copy_that_core_tools_would_send_along_is_named(project: Path) -> None:
    (project / "host.json.bak").write_text("{}", "utf-8")
    assert [(each.file, each.text[:30]) for each in check(project)] == [
        ("host.json.bak", "Core Tools would send this alo")
    ]


def test_a_new_setting_is_passed_on_by_the_fix_and_what_a_person_added_stays(project: Path) -> None:
    field = '    new: int = Field(7, alias="DORMOUSE_NEW_SETTING", description="New.")\n'
    settings, parameters = project / SETTINGS, project / PARAMETERS
    settings.write_text(settings.read_text("utf-8").replace("    # --- batches ---\n", field + "    # ---\n"), "utf-8")
    added = '"OPENAI_API_KEY": "${DORMOUSE_KEY_OF_OPENAI}"'
    parameters.write_text(
        parameters.read_text("utf-8").replace('"DORMOUSE_MAX_TURNS":', f'{added},\n        "DORMOUSE_MAX_TURNS":'),
        "utf-8",
    )
    assert len([each for each in check(project) if "DORMOUSE_NEW_SETTING" in each.text]) == 2
    fix(project)
    assert check(project) == []
    assert added in parameters.read_text("utf-8")
    assert '"DORMOUSE_NEW_SETTING": "${DORMOUSE_NEW_SETTING}"' in parameters.read_text("utf-8")
    assert '"DORMOUSE_NEW_SETTING": ""' in (project / "local.settings.sample.json").read_text("utf-8")
    before = parameters.read_bytes()
    fix(project)
    assert parameters.read_bytes() == before


def test_the_command_prints_findings_by_file_and_line(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["local.infra", str(project)])
    assert main() == 0
    (project / "host.json").write_text("{}", "utf-8")
    assert main() == 1
    assert re.search(r"^host\.json:1: ", capsys.readouterr().out, re.MULTILINE)
