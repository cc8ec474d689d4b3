"""What the operator has to be allowed: what its tests run with, and what the chart grants."""

from typing import Any

Json = dict[str, Any]

OPERATOR: list[Json] = [
    {
        "apiGroups": ["pannier.dev"],
        "resources": ["buckets", "usecases"],
        "verbs": ["list", "watch"],
    },
    {"apiGroups": ["pannier.dev"], "resources": ["buckets"], "verbs": ["patch"]},
    {
        "apiGroups": ["pannier.dev"],
        "resources": ["buckets/status", "usecases/status"],
        "verbs": ["patch"],
    },
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]},
    {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "resourceNames": ["pannier-config"],
        "verbs": ["create", "get", "patch"],
    },
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
]
LISTING: Json = {"apiGroups": ["pannier.dev"], "resources": ["buckets"], "verbs": ["list"]}
"""All that an injector has to be allowed whose certificate somebody else keeps."""


def keeping_a_lease(name: str) -> list[Json]:
    """What a standby has to be allowed besides; the Lease is there already."""
    return [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": [name],
            "verbs": ["get", "patch"],
        }
    ]
