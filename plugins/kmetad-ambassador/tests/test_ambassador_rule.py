"""What a rule may say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kmetad_ambassador.rules import Rule, parse_rule


class TestRule:
    """What a rule may be."""

    def test_as_toml_has_it(self) -> None:
        """Arrays of texts, in a table."""
        table = {
            "verbs": ["get", "list"],
            "api_groups": ["apps", ""],
            "resources": ["deployments", "pods/log"],
            "namespaces": ["lab"],
            "resource_names": ["web"],
        }
        rule = msgspec.convert(table, Rule)
        assert rule == Rule(
            ("get", "list"),
            ("apps", ""),
            ("deployments", "pods/log"),
            resource_names=("web",),
            namespaces=("lab",),
        )
        assert list(rule.matched()) == [
            ("deployments", "apps"),
            ("deployments", ""),
            ("pods/log", "apps"),
            ("pods/log", ""),
        ]
        assert msgspec.convert({"verbs": ["get"], "paths": ["/metrics"]}, Rule).paths == ("/metrics",)

    def test_groups_of_their_own(self) -> None:
        """A resource may name its group; api_groups is for the others."""
        rule = Rule(("get",), ("batch",), ("jobs", "deployments.apps/scale", "*.x.io", "*.*", "*/status"))
        assert list(rule.matched()) == [
            ("jobs", "batch"),
            ("deployments/scale", "apps"),
            ("*", "x.io"),
            ("*", "*"),
            ("*/status", "batch"),
        ]

    @pytest.mark.parametrize(
        ("table", "why"),
        [
            ({}, "verbs"),
            ({"verbs": ["get"]}, "one of them, and not both"),
            ({"verbs": ["get"], "resources": ["pods"], "paths": ["/metrics"]}, "one of them, and not both"),
            ({"verbs": [], "resources": ["pods"]}, "no verb; resources have get, list"),
            ({"verbs": [""], "resources": ["pods"]}, "no verb; resources have get, list"),
            ({"verbs": [], "paths": ["/metrics"]}, "no verb; paths have get, head"),
            ({"verbs": "get", "resources": ["pods"]}, "array"),
            ({"verbs": ["get"], "resources": "pods"}, "array"),
            ({"verbs": ["get"], "resource": ["pods"]}, "unknown field `resource`"),
            ({"verbs": ["GET"], "resources": ["pods"]}, "'GET' is no verb of resources; did you mean get?"),
            ({"verbs": ["read"], "resources": ["pods"]}, "did you mean get,list,watch?"),
            ({"verbs": ["write"], "resources": ["pods"]}, "did you mean create,update,patch,delete?"),
            ({"verbs": ["POST"], "resources": ["pods"]}, "did you mean create?"),
            ({"verbs": ["Put"], "resources": ["pods"]}, "did you mean update?"),
            ({"verbs": ["head"], "resources": ["pods"]}, "did you mean get?"),
            ({"verbs": ["all"], "resources": ["pods"]}, r"did you mean \*?"),
            ({"verbs": ["lst"], "resources": ["pods"]}, "did you mean list?"),
            ({"verbs": ["get", "deletcollection"], "resources": ["pods"]}, "did you mean deletecollection?"),
            ({"verbs": ["xyzzy"], "resources": ["pods"]}, r"there are get, list, .*, proxy, and \* for all"),
            ({"verbs": ["get", ""], "resources": ["pods"]}, "'' is no verb"),
            ({"verbs": ["get*"], "resources": ["pods"]}, "did you mean get?"),
            ({"verbs": ["impersonate"], "resources": ["users"]}, "asks itself whether one may impersonate"),
            ({"verbs": ["use"], "resources": ["podsecuritypolicies"]}, "leave it out"),
            ({"verbs": ["list"], "paths": ["/metrics"]}, "'list' is no verb of paths; did you mean get?"),
            ({"verbs": ["GET"], "paths": ["/metrics"]}, "did you mean get?"),
            ({"verbs": ["create"], "paths": ["/metrics"]}, "did you mean post?"),
            ({"verbs": ["proxy"], "paths": ["/metrics"]}, "there are get, head"),
            ({"verbs": ["get"], "api_groups": [], "resources": ["pods"]}, "api_groups is empty"),
            ({"verbs": ["get"], "api_groups": ["apps/v1"], "resources": ["pods"]}, "without a version"),
            ({"verbs": ["get"], "api_groups": ["Apps"], "resources": ["pods"]}, "'Apps' is no API group"),
            ({"verbs": ["get"], "api_groups": ["apps"], "paths": ["/metrics"]}, "this rule has paths"),
            ({"verbs": ["get"], "namespaces": ["lab"], "paths": ["/metrics"]}, "this rule has paths"),
            ({"verbs": ["get"], "resource_names": ["a"], "paths": ["/metrics"]}, "this rule has paths"),
            ({"verbs": ["get"], "resources": ["Pods"]}, "did you mean pods?"),
            (
                {"verbs": ["get"], "resources": ["/metrics"]},
                "a path, which has to stand in a rule of its own",
            ),
            ({"verbs": ["get"], "resources": ["pods/*"]}, "subresources have no wildcard"),
            ({"verbs": ["get"], "resources": ["pods/log/x"]}, "is no resource as kubectl writes it"),
            ({"verbs": ["get"], "resources": [""]}, "is no resource"),
            ({"verbs": ["get"], "resources": ["po*"]}, "is no resource"),
            ({"verbs": ["get"], "resources": ["pods."]}, "is no resource"),
            ({"verbs": ["get"], "resources": ["pods\n"]}, "is no resource"),
            ({"verbs": ["get"], "resources": ["pods,secrets"]}, "is no resource"),
            ({"verbs": ["get"], "resources": ["**"]}, "is no resource"),
            ({"verbs": ["get"], "resources": ["pods"], "namespaces": ["*"]}, "leave them out for all"),
            (
                {"verbs": ["get"], "resources": ["pods"], "namespaces": [""]},
                "can't be the name of a namespace",
            ),
            (
                {"verbs": ["get"], "resources": ["pods"], "namespaces": ["Lab"]},
                "can't be the name of a namespace",
            ),
            (
                {"verbs": ["get"], "resources": ["pods"], "namespaces": ["lab\n"]},
                "can't be the name of a namespace",
            ),
            ({"verbs": ["get"], "resources": ["pods"], "resource_names": ["*"]}, "names have no wildcard"),
            ({"verbs": ["get"], "resources": ["pods"], "resource_names": [""]}, "no path can hold it"),
            ({"verbs": ["get"], "resources": ["pods"], "resource_names": [".."]}, "no path can hold it"),
            ({"verbs": ["get"], "resources": ["pods"], "resource_names": ["a/b"]}, "no path can hold it"),
            ({"verbs": ["get"], "resources": ["pods"], "resource_names": ["ü"]}, "no path can hold it"),
            ({"verbs": ["get"], "paths": [""]}, "is no path"),
            ({"verbs": ["get"], "paths": ["metrics"]}, "is no path"),
            ({"verbs": ["get"], "paths": ["/a*/b"]}, "is no path"),
            ({"verbs": ["get"], "paths": ["/a**"]}, "is no path"),
            ({"verbs": ["get"], "paths": ["**"]}, "is no path"),
            ({"verbs": ["get"], "paths": ["//"]}, "is no path"),
            ({"verbs": ["get"], "paths": ["/a/../b"]}, "is no path"),
            ({"verbs": ["get"], "paths": ["/a//*"]}, "is no path"),
            ({"verbs": ["get"], "paths": ["/%61"]}, "is no path"),
            ({"verbs": ["get"], "paths": ["/a?b"]}, "is no path"),
            ({"verbs": ["get"], "paths": ["/a\n"]}, "is no path"),
            (
                {"verbs": ["get"], "paths": ["/api/v1/pods"]},
                "is the path of a resource; write the resource, as get:pods",
            ),
            ({"verbs": ["get"], "paths": ["/apis/apps/v1/deployments/*"]}, "is the path of a resource"),
        ],
    )
    def test_what_means_nothing(self, table: dict[str, Any], why: str) -> None:
        """Each error says what would mean something."""
        with pytest.raises(msgspec.ValidationError, match=why):
            msgspec.convert(table, Rule)

    @pytest.mark.parametrize(
        "path",
        [
            "*",
            "/",
            "/*",
            "/metrics",
            "/metrics/",
            "/logs/*",
            "/logs*",
            "/api",
            "/api/v1",
            "/api/*",
            "/apis/apps/v1/",
        ],
    )
    def test_paths(self, path: str) -> None:
        """Whole ones, and beginnings."""
        assert Rule(("*",), paths=(path,)).paths == (path,)


class TestShortForm:
    """A rule on a command line."""

    @pytest.mark.parametrize(
        ("text", "rule"),
        [
            ("get:pods", Rule(("get",), resources=("pods",))),
            (
                "get,list,watch:pods,pods/log,deployments.apps:lab:web",
                Rule(
                    ("get", "list", "watch"),
                    resources=("pods", "pods/log", "deployments.apps"),
                    namespaces=("lab",),
                    resource_names=("web",),
                ),
            ),
            ("*:*", Rule(("*",), resources=("*.*",))),
            ("get:*/scale", Rule(("get",), resources=("*.*/scale",))),
            ("get:*.apps/scale,*.batch", Rule(("get",), resources=("*.apps/scale", "*.batch"))),
            ("get:pods:*", Rule(("get",), resources=("pods",))),
            ("get:pods:*:*", Rule(("get",), resources=("pods",))),
            ("get:pods:*:web", Rule(("get",), resources=("pods",), resource_names=("web",))),
            (
                "get:pods:a,b:c,d",
                Rule(("get",), resources=("pods",), namespaces=("a", "b"), resource_names=("c", "d")),
            ),
            ("get : pods , nodes : a", Rule(("get",), resources=("pods", "nodes"), namespaces=("a",))),
            (
                "get:services/proxy:lab:https:web:443",
                Rule(
                    ("get",),
                    resources=("services/proxy",),
                    namespaces=("lab",),
                    resource_names=("https:web:443",),
                ),
            ),
            ("get:/metrics", Rule(("get",), paths=("/metrics",))),
            ("get,post:/logs/*,/a:b", Rule(("get", "post"), paths=("/logs/*", "/a:b"))),
            ("*:/*", Rule(("*",), paths=("/*",))),
        ],
    )
    def test_means(self, text: str, rule: Rule) -> None:
        """What the whole form would say."""
        assert parse_rule(text) == rule

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("", "'' is no rule: VERBS:RESOURCES"),
            ("get", "as get,list:pods,deployments.apps:lab, or VERBS:PATHS, as get:/metrics"),
            ("get:", "is no rule"),
            ("get: ", "is no rule"),
            (":", "is no rule"),
            ("pods", "is no rule"),
            (":pods", "':pods': no verb"),
            ("read:pods", "'read:pods': 'read' is no verb of resources; did you mean get,list,watch?"),
            ("GET:pods", "did you mean get?"),
            ("list:/metrics", "did you mean get?"),
            ("get,:pods", "'' is no verb"),
            ("get:pods,", "is no resource"),
            ("get::pods", "is no resource"),
            ("get:pods:", "nothing stands behind a colon; write \\* for any"),
            ("get:pods::web", "nothing stands behind a colon"),
            ("get:pods:lab:", "nothing stands behind a colon"),
            ("get:pods: :web", "nothing stands behind a colon"),
            ("get:pods:lab,", "can't be the name of a namespace"),
            ("get:pods:lab,*", "leave them out for all"),
            ("get:pods:lab:a,*", "names have no wildcard"),
            ("get:pods:web/log", "can't be the name of a namespace"),
            ("get:pods,/metrics", "has to stand in a rule of its own"),
            ("get:/metrics,pods", "'pods' is no path"),
            ("get:/api/v1/pods", "is the path of a resource"),
            ("get:pods/*", "subresources have no wildcard"),
            ("get:deployments.apps/v1/scale", "is no resource as kubectl writes it"),
        ],
    )
    def test_errors(self, text: str, why: str) -> None:
        """With the rule in which it stands, and an example."""
        with pytest.raises(ValueError, match=why):
            parse_rule(text)
