"""What the deployment's files must say, whatever the checker thinks of them."""

from __future__ import annotations

import json
import re

import yaml

from local import ROOT
from local.infra.appsettings import NEEDED, PLATFORM, assigned, known
from local.infra.bicep import literal, properties, text
from local.infra.profiles import settings_of_all
from local.infra.templates import ROLES, files
from local.packaging.profiles import DEFAULT, find_profile

MEDIUM = find_profile(DEFAULT)


def test_every_action_is_pinned_by_the_digest_of_a_commit() -> None:
    used = [
        line.split("uses:")[1].strip()
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in path.read_text("utf-8").splitlines()
        if "uses:" in line
    ]
    assert len(used) >= 4
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v[\d.]+", action), action


def test_the_workflow_asks_for_nothing_but_to_read_unless_it_deploys() -> None:
    content = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    assert content["permissions"] == {"contents": "read"}
    assert [name for name, job in content["jobs"].items() if "id-token" in job.get("permissions", {})] == ["deploy"]
    assert "workflow_dispatch" in content["jobs"]["deploy"]["if"]
    assert content["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12"]


def commands_of(job: str) -> str:
    content = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    return "\n".join(step["run"] for step in content["jobs"][job]["steps"] if "run" in step)


def test_the_workflow_holds_the_app_to_its_tests_on_the_real_host_under_each_driver() -> None:
    content = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    commands = commands_of("functions-host")
    assert content["jobs"]["functions-host"]["strategy"]["matrix"] == {"driver": ["durable", "timer"]}
    assert "npm ci --prefix .github/core-tools" in commands
    locked = json.loads((ROOT / ".github/core-tools/package-lock.json").read_text("utf-8"))["packages"]
    assert locked["node_modules/azure-functions-core-tools"]["integrity"].startswith("sha512-")
    assert "python dev.py run --host func --driver" in commands
    assert "python dev.py test --against http://localhost:7071" in commands


def test_the_workflow_runs_the_quick_tests_on_the_newest_python_as_the_local_script_does() -> None:
    content = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    assert content["jobs"]["newer-python"]["steps"][1]["with"] == {"python-version": "3.13"}
    assert commands_of("newer-python") == "python dev.py test"
    assert "3.13" in (ROOT / ".ci/run").read_text("utf-8")


def test_nothing_is_deployed_that_any_of_the_jobs_refuses() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    assert set(jobs["deploy"]["needs"]) == set(jobs) - {"deploy"}


def test_no_checkout_leaves_its_token_behind() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert len(steps) == len(jobs)
    assert all(step["with"] == {"persist-credentials": False} for step in steps)


def test_no_secret_is_needed_to_deploy() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        assert "secrets." not in path.read_text("utf-8")


def test_every_role_is_assigned_once() -> None:
    every = "".join(path.read_text("utf-8") for path in (ROOT / "infra").rglob("*.bicep"))
    for role, number in ROLES.items():
        assert every.count(f"'{role}': '{number}'") == 1


def test_each_setting_that_is_set_is_read_by_the_code_or_the_platform() -> None:
    settings = known((ROOT / "shared/settings.py").read_text("utf-8"))
    given = assigned(files(ROOT))
    assert set(given) <= set(settings) | set(PLATFORM)
    assert set(given) | settings_of_all(ROOT) >= NEEDED
    secret = [name for name in given if name.endswith(("_KEY", "_SECRET"))]
    assert secret == ["DORMOUSE_ENCRYPTION_KEY"], "which is the id of a key in Key Vault, and no secret"


def test_settings_are_read_from_the_source_as_pydantic_reads_them() -> None:
    from shared.settings import Settings

    settings = known((ROOT / "shared/settings.py").read_text("utf-8"))
    fields = {field.alias: field for field in Settings.model_fields.values()}
    assert set(settings) == set(fields)
    assert all(settings[name].required == field.is_required() for name, field in fields.items() if name)
    assert settings["DORMOUSE_DRIVER"].choices == {"durable", "timer"}


def test_every_parameter_can_be_given_by_the_azd_environment() -> None:
    given = json.loads((ROOT / "infra/main.parameters.json").read_text("utf-8"))["parameters"]
    assert set(given) == {each.name for each in files(ROOT)[0].of("parameter")}


def module_of_main(name: str) -> dict[str, str]:
    """What main.bicep hands to a module, as it stands there."""
    found = next(each for each in files(ROOT)[0].of("module") if each.name == name)
    return {key: text(value) for key, (_, value) in properties(properties(found.body)["params"][1]).items()}


def test_what_works_with_the_rows_has_no_right_to_the_package() -> None:
    app, package = module_of_main("app"), module_of_main("packageAccess")
    assert app["packagesName"] == package["storageName"] == "packages.outputs.name"
    assert package["principalId"] == "deploymentIdentity.outputs.principalId"
    assert app["deploymentIdentityId"] == "deploymentIdentity.outputs.id" != app["identityId"]
    others = [name for name in ("storageAccess", "deployerAccess", "telemetryAccess") if module_of_main(name)]
    assert all("packages" not in str(module_of_main(name)) for name in others)
    deployed = (ROOT / "infra/modules/app.bicep").read_text("utf-8")
    assert "userAssignedIdentityResourceId: deploymentIdentityId" in deployed
    assert "AZURE_CLIENT_ID: identityClientId" in deployed


def test_who_deploys_is_given_the_data_roles_of_the_rows() -> None:
    given = json.loads((ROOT / "infra/main.parameters.json").read_text("utf-8"))["parameters"]
    assert given["deployerId"] == {"value": "${AZURE_PRINCIPAL_ID}"}
    assert given["deployerType"] == {"value": "${AZURE_PRINCIPAL_TYPE=User}"}
    assert module_of_main("deployerAccess") == {
        "principalId": "deployerId",
        "principalType": "deployerType",
        "storageName": "storage.outputs.name",
        "tablesOnly": "false",
    }
    assert module_of_main("deployerRowsAccess") == {
        **module_of_main("deployerAccess"),
        "storageName": "rows!.outputs.name",
        "tablesOnly": "true",
    }


def test_a_key_for_the_texts_is_made_only_when_it_is_asked_for_and_named_without_a_version() -> None:
    main = files(ROOT)[0]
    assert {each.name: literal(each.value) for each in main.of("parameter") if each.value}["encryptionKey"] is False
    assert module_of_main("textKey")["principalId"] == module_of_main("storageAccess")["principalId"]
    assert module_of_main("app")["encryptionKeyId"] == "encryptionKey ? textKey!.outputs.keyId : ''"
    module = (ROOT / "infra/modules/encryption-key.bicep").read_text("utf-8")
    assert "output keyId string = key.properties.keyUri\n" in module


def test_storage_is_closed_to_the_world_only_when_it_is_asked_for() -> None:
    main = files(ROOT)[0]
    assert {each.name: literal(each.value) for each in main.of("parameter") if each.value}["privateNetwork"] is False
    assert module_of_main("storage")["isPrivate"] == module_of_main("packages")["isPrivate"] == "privateNetwork"
    assert module_of_main("storageEndpoints")["services"] == module_of_main("network")["services"]
    assert "['blob', 'queue', 'table']" in (ROOT / "infra/main.bicep").read_text("utf-8")


def test_the_readme_explains_every_parameter_and_says_what_nobody_has_deployed() -> None:
    page = (ROOT / "infra/README.md").read_text("utf-8")
    for each in files(ROOT)[0].of("parameter"):
        row = next((line for line in page.splitlines() if line.startswith(f"| `{each.name}`")), None)
        assert row is not None, f"infra/README.md has no row for {each.name}"
        default = literal(each.value) if each.value is not None else None
        if default not in (None, ""):
            assert f"`{str(default).lower() if isinstance(default, bool) else default}`" in row, row


def test_the_printed_az_commands_set_what_the_templates_set() -> None:
    page = (ROOT / "infra/README.md").read_text("utf-8")
    block = page.split("az functionapp config appsettings set")[1].split("az functionapp config appsettings delete")[0]
    printed = set(re.findall(r"^ +\"?(\w+)=", block, re.MULTILINE))
    made_by_az = {"APPLICATIONINSIGHTS_CONNECTION_STRING"}
    defaults_will_do = {"DORMOUSE_AUTH", "DORMOUSE_DRIVER"}
    only_with_sign_in = {"OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID"}
    only_with_a_scheduler = {"DURABLE_TASK_SCHEDULER_CONNECTION_STRING"}
    assert printed == NEEDED - made_by_az - defaults_will_do - only_with_sign_in - only_with_a_scheduler
    assert f"PYTHON_THREADPOOL_THREAD_COUNT={MEDIUM.settings['PYTHON_THREADPOOL_THREAD_COUNT']} " in block
    assert f"--instance-memory {MEDIUM.memory} " in page


def test_the_printed_registration_is_given_tokens_of_the_issuer_that_is_trusted() -> None:
    issuer = "openIdIssuer: '${environment().authentication.loginEndpoint}${tenantId}/v2.0'"
    assert issuer in (ROOT / "infra/modules/auth.bicep").read_text("utf-8")
    command = (ROOT / "infra/README.md").read_text("utf-8").split("az ad app create")[1].split("az ad app update")[0]
    assert "--requested-access-token-version 2" in command


def test_the_printed_az_commands_assign_the_roles_of_the_templates() -> None:
    page = (ROOT / "infra/README.md").read_text("utf-8")
    commands = page.split("## `func azure functionapp publish`")[1]
    only_if_asked_for = {"Key Vault Crypto User", "Durable Task Data Contributor"}
    assert [role for role in ROLES if f'"{role}"' not in commands and role not in only_if_asked_for] == []
