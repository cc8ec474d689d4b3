"""What several workers say of themselves, as one page."""

import json

from pannier_gateway.overview import compared


def told(digest: str, generation: int = 1, problem: str | None = None) -> tuple[int, str]:
    page = {"digest": digest, "problem": problem, "config": {"generation": generation}}
    return 200, json.dumps(page)


def test_workers_that_agree_are_one_page() -> None:
    shown = compared({1: told("a", generation=3), 2: told("a"), 4: told("a")})

    assert shown["config"] == {"generation": 3}
    assert shown["differing"] == {}


def test_a_worker_that_is_behind_is_shown_beside_the_others() -> None:
    shown = compared({1: told("b"), 2: told("a"), 3: told("b", problem="all.yaml: broken")})

    assert shown["digest"] == "b"
    assert shown["differing"] == {
        2: {"digest": "a", "problem": None, "config": {"generation": 1}},
        3: {"digest": "b", "problem": "all.yaml: broken", "config": {"generation": 1}},
    }


def test_a_worker_that_does_not_answer_hides_none_that_does() -> None:
    shown = compared({1: (504, "no answer: TimeoutError()\n"), 2: told("a")})

    assert shown["digest"] == "a"
    assert shown["differing"] == {1: {"problem": "no answer: TimeoutError()"}}


def test_nothing_but_silence_is_shown_too() -> None:
    assert compared({1: (504, "no answer\n")}) == {"problem": "no answer", "differing": {}}
