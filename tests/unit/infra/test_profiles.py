"""A profile reaches the app by the templates, by host.json and by the package, as its table says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev import main, parser
from local import ROOT
from local.infra.bicep import at, properties
from local.infra.templates import files
from local.openapi.deployment import ROWS, idle_dollars, idle_polls
from local.packaging import profiles
from local.packaging.profiles import BACKENDS, Profile, find_profile, host_json_of, profile_in, read_profiles, report
from local.stack.child import StackError
from shared.settings import load
from tests.unit.infra.evaluated import Evaluated

ALL = read_profiles()
SHIPPED = json.loads((ROOT / "host.json").read_text("utf-8"))


def deployed(profile: str, **given: Any) -> tuple[dict[str, Any], dict[str, Any], Evaluated]:
    """The app settings and the scale of a deployment, and main.bicep for its other modules."""
    every = {file.path.name: file for file in files(ROOT)}
    top = Evaluated(every["main.bicep"], {"profile": profile, **given})
    handed = top.module("app")
    assert handed is not None
    inner, app = Evaluated(every["app.bicep"], handed), every["app.bicep"]
    settings = properties(next(each for each in app.of("resource") if each.name == "settings").body)["properties"][1]
    (site,) = app.resources("Microsoft.Web/sites")
    scale = at(site.body, "properties.functionAppConfig.scaleAndConcurrency")
    assert scale is not None
    return inner.value(settings), inner.value(scale), top


# --- the templates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_templates_give_a_profile_its_settings_memory_and_instances(name: str) -> None:
    profile = ALL[name]
    settings, scale, top = deployed(name)
    assert {key: settings[key] for key in profile.app_settings()} == profile.app_settings()
    assert scale["instanceMemoryMB"] == profile.memory
    ready = {"http": profile.always_ready_http, "durable": profile.always_ready_durable}
    assert {each["name"]: each["instanceCount"] for each in scale["alwaysReady"]} == {
        k: v for k, v in ready.items() if v
    }
    assert top.module("scheduler") is None
    assert not {"DURABLE_TASK_SCHEDULER_CONNECTION_STRING", "DORMOUSE_TABLE_SERVICE_URI"} & set(settings)


def test_the_profiles_differ_in_the_templates() -> None:
    found = [deployed(name)[:2] for name in ALL]
    assert len({settings["PYTHON_THREADPOOL_THREAD_COUNT"] for settings, _ in found}) == len(ALL)
    assert len({settings["DORMOUSE_PROVIDER_CONCURRENCY"] for settings, _ in found}) == len(ALL)
    assert len({(scale["instanceMemoryMB"], len(scale["alwaysReady"])) for _, scale in found}) == 2


def test_what_is_given_by_itself_wins_over_the_profile() -> None:
    settings, scale, _ = deployed(
        "large", driver="timer", instanceMemoryMB=4096, alwaysReadyDurable=0, alwaysReadyHttp=2
    )
    assert (settings["DORMOUSE_DRIVER"], settings["DORMOUSE_SWEEP_SECONDS"]) == ("timer", "5")
    assert scale["instanceMemoryMB"] == 4096
    assert scale["alwaysReady"] == [{"name": "http", "instanceCount": 2}]


def test_the_scheduler_takes_the_place_of_the_storage_hub_when_it_is_asked_for() -> None:
    settings, _, top = deployed("medium", durableBackend="scheduler")
    made = top.module("scheduler")
    assert made is not None
    assert (made["hubName"], made["sku"]) == (ALL["medium"].hub_name, "Consumption")
    assert made["principalId"] == (top.module("storageAccess") or {})["principalId"]
    connection = settings["DURABLE_TASK_SCHEDULER_CONNECTION_STRING"]
    assert connection.startswith("'Endpoint=${schedulerEndpoint};Authentication=ManagedIdentity;ClientID=")
    host = ALL["medium"].host_json(SHIPPED, "scheduler")
    assert host["extensions"]["durableTask"]["storageProvider"]["connectionStringName"] in settings


def test_rows_have_an_account_of_their_own_when_it_is_asked_for_and_the_app_a_right_to_its_tables_alone() -> None:
    settings, _, top = deployed("small", separateRowStorage=True)
    assert settings["DORMOUSE_TABLE_SERVICE_URI"] == "rowStorage.properties.primaryEndpoints.table"
    assert settings["AzureWebJobsStorage__tableServiceUri"] == "storage.properties.primaryEndpoints.table"
    access = top.module("rowsAccess")
    assert access is not None
    assert access["tablesOnly"] is True
    assert access["storageName"] == (top.module("app") or {})["rowsName"]
    assert top.module("rowsEndpoint") is None
    private = deployed("small", separateRowStorage=True, privateNetwork=True)[2].module("rowsEndpoint")
    assert private is not None
    assert private["services"] == ["table"]


# --- host.json ----------------------------------------------------------------------------------------


def test_host_json_ships_as_the_default_profile_has_it() -> None:
    assert profile_in(SHIPPED) == (ALL["medium"], "storage")
    assert host_json_of(ROOT, ALL["medium"]) == (ROOT / "host.json").read_text("utf-8")
    durable = SHIPPED["extensions"]["durableTask"]
    assert durable["storageProvider"]["partitionCount"] == 4
    assert (durable["maxConcurrentOrchestratorFunctions"], durable["maxConcurrentActivityFunctions"]) == (10, 32)


def test_from_each_host_json_one_comes_to_every_other() -> None:
    made = {(name, backend): each.host_json(SHIPPED, backend) for name, each in ALL.items() for backend in BACKENDS}
    assert len({json.dumps(content) for content in made.values()}) == len(made)
    for content in made.values():
        for (name, backend), wanted in made.items():
            assert ALL[name].host_json(content, backend) == wanted
            assert profile_in(wanted) == (ALL[name], backend)


def test_only_the_hub_and_the_bundle_are_the_profiles() -> None:
    for profile in ALL.values():
        made = profile.host_json(SHIPPED, "scheduler")
        for content in (made, left := json.loads(json.dumps(SHIPPED))):
            content["extensionBundle"].pop("version")
            for name in ("hubName", "storageProvider", "maxConcurrentActivityFunctions"):
                content["extensions"]["durableTask"].pop(name)
            content["extensions"]["durableTask"].pop("maxConcurrentOrchestratorFunctions")
        assert made == left


def test_the_scheduler_has_nothing_of_a_storage_hub() -> None:
    made = ALL["large"].host_json(SHIPPED, "scheduler")
    assert made["extensions"]["durableTask"]["storageProvider"] == {
        "type": "azureManaged",
        "connectionStringName": "DURABLE_TASK_SCHEDULER_CONNECTION_STRING",
    }
    assert made["extensionBundle"]["version"] == "[4.32.0, 5.0.0)"


# --- what a profile may be ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_settings_of_a_profile_are_settings_that_the_app_takes(name: str) -> None:
    for sweep in ALL[name].sweep.values():
        settings = load({**ALL[name].app_settings(), **sweep})
        assert str(settings.provider_concurrency) == ALL[name].settings["DORMOUSE_PROVIDER_CONCURRENCY"]
        assert str(settings.sweep_seconds) == sweep["DORMOUSE_SWEEP_SECONDS"]


@pytest.mark.parametrize("name", ALL)
def test_requests_that_hang_leave_activities_to_others(name: str) -> None:
    settings = load(ALL[name].app_settings())
    creates, blocking = settings.provider_concurrency * 3 // 4, settings.provider_blocking * 3 // 4
    assert creates + blocking + settings.callback_concurrency - 1 < ALL[name].activities, "those of one owner"
    assert settings.provider_concurrency < ALL[name].activities, "polls, whoever's"


def test_the_small_profile_is_the_hub_that_was_shipped_before_there_were_profiles() -> None:
    small = ALL["small"]
    assert (small.hub_name, small.partitions, small.orchestrators, small.activities) == ("dormouse", 1, 4, 24)
    assert (small.polling, small.always_ready_http, small.always_ready_durable) == ("00:00:05", 0, 0)
    assert small.memory <= 2_048


def test_idle_queues_are_looked_at_so_often_and_cost_so_much() -> None:
    assert idle_polls(ALL["small"]) == 2 * 30 * 86_400 // 5
    assert round(idle_dollars(ALL["medium"]) - idle_dollars(ALL["small"]), 2) == 0.62
    page = " ".join((ROOT / "docs/deploy.md").read_text("utf-8").split())
    assert "`medium` is $0.62 a month above `small`" in page


def test_the_table_says_each_value_that_tells_the_profiles_apart() -> None:
    cells = {row: [cell(each) for each in ALL.values()] for row, cell in ROWS.items()}
    assert cells["partitions (control queues)"] == ["1", "4", "16"]
    assert cells["memory of an instance"] == ["512 MB", "512 MB", "2,048 MB"]
    page = (ROOT / "docs/deploy.md").read_text("utf-8")
    for row, said in cells.items():
        assert f"| {row} | {' | '.join(said)} |" in page


# --- the command --------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working copy, as far as the command looks at it."""
    (tmp_path / "host.json").write_text((ROOT / "host.json").read_text("utf-8"), "utf-8")
    monkeypatch.setattr(profiles, "ROOT", tmp_path)
    for name in (profiles.PROFILE_VARIABLE, profiles.BACKEND_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def written(folder: Path) -> tuple[str, str] | None:
    """The profile and the backend of a folder's host.json."""
    found = profile_in(json.loads((folder / "host.json").read_text("utf-8")))
    return found and (found[0].name, found[1])


def test_the_command_writes_host_json_and_prints_what_is_to_be_set(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", "large"]) == 0
    assert written(copy) == ("large", "storage")
    said = capsys.readouterr().out
    for name, value in ALL["large"].app_settings().items():
        assert f"{name}={value}" in said
    assert "--instance-memory 2048" in said
    assert "always-ready set -g <group> -n <app> --settings durable=1" in said
    assert main(["profile", "large", "--backend", "scheduler"]) == 0
    assert written(copy) == ("large", "scheduler")
    assert "Authentication=ManagedIdentity" in capsys.readouterr().out
    assert main(["profile"]) == 0
    assert (copy / "host.json").read_text("utf-8") == (ROOT / "host.json").read_text("utf-8")


def test_azd_s_environment_names_profile_and_backend(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DORMOUSE_PROFILE", "small")
    monkeypatch.setenv("DORMOUSE_DURABLE_BACKEND", "scheduler")
    assert main(["profile"]) == 0
    assert written(copy) == ("small", "scheduler")
    monkeypatch.setenv("DORMOUSE_DURABLE_BACKEND", "")
    assert main(["profile"]) == 0
    assert written(copy) == ("small", "storage")


def test_azd_runs_the_command_before_it_packs_with_the_variables_that_the_templates_read() -> None:
    hook = yaml.safe_load((ROOT / "azure.yaml").read_text("utf-8"))["services"]["api"]["hooks"]["prepackage"]
    for system in ("posix", "windows"):
        _, *arguments = hook[system]["run"].split()
        assert parser().parse_args(arguments[1:]).action is profiles.use_profile
    given = json.loads((ROOT / "infra/main.parameters.json").read_text("utf-8"))["parameters"]
    assert given["profile"]["value"] == f"${{{profiles.PROFILE_VARIABLE}={profiles.DEFAULT}}}"
    assert given["durableBackend"]["value"] == f"${{{profiles.BACKEND_VARIABLE}}}"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "DORMOUSE_PROFILE",
            "huge",
            "there is no profile 'huge'; those of infra/profiles.json are small, medium, large",
        ),
        ("DORMOUSE_DURABLE_BACKEND", "cosmos", "DORMOUSE_DURABLE_BACKEND must be storage or scheduler, not 'cosmos'"),
    ],
)
def test_a_name_that_is_none_changes_nothing(
    variable: str,
    value: str,
    sentence: str,
    copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    before = (copy / "host.json").read_bytes()
    assert main(["profile"]) == 1
    assert sentence in capsys.readouterr().err
    assert (copy / "host.json").read_bytes() == before


def test_a_folder_without_a_host_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="cannot be read"):
        host_json_of(tmp_path, find_profile(""))
    (tmp_path / "host.json").write_text("{}", "utf-8")
    with pytest.raises(StackError, match="cannot be read"):
        host_json_of(tmp_path, find_profile("small"))
    assert profile_in({}) is None


def test_the_printed_settings_are_those_of_the_templates() -> None:
    def printed(profile: Profile, backend: str) -> set[str]:
        lines = report(profile, backend).split("--settings \\\n")[1].split("\n  az ")[0].splitlines()
        return {line.strip(' \\"').split("=")[0] for line in lines}

    for name, profile in ALL.items():
        for backend in BACKENDS:
            assert printed(profile, backend) <= set(deployed(name, durableBackend=backend)[0])
