import argparse

import pytest

from pannier_operator.injector.options import OPTIONS
from pannier_operator.injector.settings import Settings, add_options, settings_of
from pannier_operator.injector.sidecar import DEFAULTS
from pannier_operator.settings import Address
from pannier_operator.unusable import Unusable

LEAST = ("--image=gateway:1", "--namespace=pannier-system")


def parsed(*arguments: str) -> Settings:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser)
    return settings_of(parser.parse_args(arguments))


def test_without_more_the_defaults_hold() -> None:
    settings = parsed(*LEAST)

    assert settings.listen == Address("0.0.0.0", 9443)
    assert settings.sidecar.defaults == DEFAULTS
    assert settings.sidecar.image == "gateway:1"
    assert settings.excluded == ("kube-node-lease", "kube-public", "kube-system", "pannier-system")
    assert settings.names == (
        "pannier-injector.pannier-system.svc",
        "pannier-injector.pannier-system.svc.cluster.local",
    )


def test_every_option_has_a_default_that_it_accepts() -> None:
    assert [each.name for each in OPTIONS] == list(DEFAULTS)
    assert all(each.accepts(DEFAULTS[each.name]) for each in OPTIONS)


def test_the_defaults_of_pods_can_be_set_and_are_checked_as_annotations_are() -> None:
    settings = parsed(*LEAST, "--default-memory=1Gi", "--default-log-level=debug", "--cpu-limit")
    assert settings.sidecar.defaults == DEFAULTS | {"memory": "1Gi", "log-level": "debug"}
    assert settings.sidecar.cpu_limit

    with pytest.raises(argparse.ArgumentError, match="'1G' is not a size in Mi or Gi"):
        parsed(*LEAST, "--default-memory=1G")


def test_further_names_are_names_of_the_certificate() -> None:
    settings = parsed(*LEAST, "--service=mine", "--host=127.0.0.1", "--host=elsewhere")

    assert settings.names[0] == "mine.pannier-system.svc"
    assert settings.names[2:] == ("127.0.0.1", "elsewhere")


def test_the_namespace_may_come_from_the_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAMESPACE", "from-the-pod")
    assert parsed(LEAST[0]).namespace == "from-the-pod"

    monkeypatch.delenv("POD_NAMESPACE")
    with pytest.raises(Unusable, match="--namespace"):
        parsed(LEAST[0])


@pytest.mark.parametrize("wrong", ["-1", "x", "nan", "1e7"])
def test_a_linger_that_is_no_number_of_seconds_is_refused(wrong: str) -> None:
    with pytest.raises(argparse.ArgumentError, match="not a number of seconds"):
        parsed(*LEAST, f"--linger={wrong}")
