"""What rules allow, and what a refusal tells."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kmetad_ambassador.asked import Asked, asked
from kmetad_ambassador.refusal import Refusal
from kmetad_ambassador.rules import ALONE, READ, THROUGH, WRITE, Policy, Rule, parse_rule, policy
from kmetad_ambassador.target import canonical

from tests.apiserver.recorded import recorded


def of(request: str) -> Asked:
    """``GET /api/v1/pods``"""
    method, target = request.split(" ", 1)
    return asked(method, canonical(target.encode()))


def tried(judge: Policy, request: str | Asked) -> Refusal | None:
    """What comes of it."""
    it = of(request) if isinstance(request, str) else request
    try:
        judge.check(it)
    except Refusal as refusal:
        return refusal
    return None


def allows(rules: Policy | str, request: str | Asked) -> bool:
    """Whether it is; rules in their short form, with spaces between them."""
    judge = rules if isinstance(rules, Policy) else Policy([parse_rule(text) for text in rules.split()])
    refusal = tried(judge, request)
    assert refusal is None or (refusal.status, refusal.kind) == (403, "rule")
    return refusal is None


def told(rules: Policy, request: str | Asked) -> str:
    """What the refusal says."""
    refusal = tried(rules, request)
    assert refusal is not None
    return refusal.message


def suggested(message: str) -> str | None:
    """The rule in it."""
    if "--allow" not in message:
        return None
    words = shlex.split(message[message.index("--allow ") :])
    return words[1]


class TestMatching:
    """As RBAC matches."""

    @pytest.mark.parametrize(
        ("rules", "allowed", "refused"),
        [
            (
                "get:pods",
                [
                    "GET /api/v1/namespaces/lab/pods/web",
                    "HEAD /api/v1/namespaces/a/pods/b",
                    "GET /api/v2/pods/x",
                ],
                [
                    "GET /api/v1/namespaces/lab/pods",
                    "GET /api/v1/namespaces/lab/pods/web/log",
                    "DELETE /api/v1/namespaces/lab/pods/web",
                    "GET /apis/metrics.k8s.io/v1/namespaces/lab/pods/web",
                    "GET /api/v1/namespaces/lab/services/web",
                    "GET /metrics",
                ],
            ),
            (
                "list:pods:lab",
                ["GET /api/v1/namespaces/lab/pods", "GET /api/v1/namespaces/lab/pods?watch=false"],
                [
                    "GET /api/v1/pods",
                    "GET /api/v1/namespaces/kube-system/pods",
                    "GET /api/v1/namespaces/lab/pods?watch=1",
                    "GET /api/v1/watch/namespaces/lab/pods",
                ],
            ),
            (
                "watch:pods",
                ["GET /api/v1/pods?watch", "GET /api/v1/watch/pods", "HEAD /api/v1/watch/pods/a"],
                ["GET /api/v1/pods"],
            ),
            (
                "get,list,delete,deletecollection:pods:*:web",
                [
                    "GET /api/v1/namespaces/lab/pods/web",
                    "GET /api/v1/pods?fieldSelector=metadata.name%3Dweb",
                    "DELETE /api/v1/namespaces/lab/pods/web",
                ],
                [
                    "GET /api/v1/pods",
                    "GET /api/v1/pods?fieldSelector=metadata.name!%3Dweb",
                    "GET /api/v1/pods?fieldSelector=metadata.name%3Dweb,metadata.name%3Ddb",
                    "GET /api/v1/namespaces/lab/pods/db",
                    "DELETE /api/v1/namespaces/lab/pods?fieldSelector=metadata.name%3Dweb",
                ],
            ),
            (
                "*:deployments.apps,*/scale",
                ["PATCH /apis/apps/v1/namespaces/lab/deployments/web", "PUT /apis/x.io/v1/things/a/scale"],
                [
                    "GET /api/v1/deployments/web",
                    "GET /apis/apps/v1/deployments/web/status",
                    "GET /apis/apps/v1/replicasets",
                ],
            ),
            (
                "*:*.apps",
                [
                    "DELETE /apis/apps/v1/deployments",
                    "GET /apis/apps/v1/secrets/x",
                    "GET /apis/apps/v1/deployments/a/status",
                ],
                [
                    "GET /api/v1/pods",
                    "GET /apis/batch/v1/jobs",
                    "GET /apis/apps/v1/deployments/a/exec",
                    "GET /apps",
                ],
            ),
            # A namespace is in itself.
            (
                "*:*:lab",
                ["DELETE /api/v1/namespaces/lab", "GET /api/v1/namespaces/lab/pods"],
                ["GET /api/v1/namespaces", "GET /api/v1/nodes/lab"],
            ),
            (
                "get:namespaces/status",
                ["GET /api/v1/namespaces/lab/status"],
                ["GET /api/v1/namespaces/lab", "PUT /api/v1/namespaces/lab/status"],
            ),
            # Together they aren't more than each.
            (
                "get:pods:a list:pods:b",
                ["GET /api/v1/namespaces/b/pods"],
                ["GET /api/v1/namespaces/a/pods", "GET /api/v1/namespaces/b/pods/x"],
            ),
            (
                "get:pods,secrets.x.io",
                ["GET /apis/x.io/v1/secrets/a"],
                ["GET /api/v1/secrets/a", "GET /apis/x.io/v1/pods/a"],
            ),
            (
                "get:/metrics",
                ["GET /metrics", "HEAD /metrics"],
                ["GET /metrics/", "GET /metrics/slis", "POST /metrics", "GET /Metrics"],
            ),
            ("head:/metrics", ["HEAD /metrics"], ["GET /metrics"]),
            ("get:/logs/*", ["GET /logs/", "GET /logs/a/b"], ["GET /logs", "GET /logsx"]),
            ("get:/logs*", ["GET /logs", "GET /logsx"], ["GET /log"]),
            (
                "post,put:/debug/*",
                ["POST /debug/a", "PUT /debug/flags/v"],
                ["GET /debug/a", "DELETE /debug/a", "PATCH /debug/a"],
            ),
            (
                "*:/*",
                ["GET /a", "DELETE /a", "PATCH /a/b", "POST /apis/apps/v1", "PUT /api/v1/"],
                ["GET /api/v1/pods", "GET /apis/apps/v1/deployments"],
            ),
            ("*:*", ["DELETE /api/v1/namespaces", "PATCH /apis/a/b/c/d"], ["GET /metrics", "POST /version"]),
        ],
    )
    def test_rules(self, rules: str, allowed: list[str], refused: list[str]) -> None:
        """Verb, group, resource, namespace and name, all of one rule."""
        for request in allowed:
            assert allows(rules, request), request
        for request in refused:
            assert not allows(rules, request), request

    def test_no_rules(self) -> None:
        """Nothing but discovery."""
        none = Policy(())
        assert allows(none, "GET /api")
        assert not allows(none, "GET /api/v1/pods")
        assert not allows(none, "GET /metrics")


class TestDiscovery:
    """What kubectl asks before anything else."""

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/api",
            "/api/",
            "/api/v1",
            "/api/v1/",
            "/apis",
            "/apis/",
            "/apis/apps",
            "/apis/apps/v1",
            "/apis/apps/v1/",
            "/version",
            "/version/",
            "/openapi",
            "/openapi/v2",
            "/openapi/v3/apis/apps/v1",
            "/openapi/v3/api/v1",
            "/healthz",
            "/livez",
            "/readyz",
        ],
    )
    def test_always(self, path: str) -> None:
        """Whatever the rules; but only to read it."""
        for judge in (Policy(()), policy([parse_rule("get:pods")], False)):
            assert allows(judge, f"GET {path}?timeout=32s")
            assert allows(judge, f"HEAD {path}")
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                assert not allows(judge, f"{method} {path}")

    @pytest.mark.parametrize(
        "path",
        [
            "/api/v1/pods",
            "/apis/a/b/c",
            "/apix",
            "/versions",
            "/version/x",
            "/openapiv2",
            "/healthz/etcd",
            "/livez/",
            "/metrics",
            "/logs/",
            "/x/version",
        ],
    )
    def test_nothing_else(self, path: str) -> None:
        """What only begins so."""
        assert not allows(Policy(()), f"GET {path}")


class TestSensitive:
    """What no wildcard covers."""

    WILDCARDS = "*:* *:*.* *:*/status *:/* get:*:lab *:*:*:web proxy:pods/log"
    REQUESTS = (
        "POST /api/v1/namespaces/lab/pods/web/exec?command=sh",
        "GET /api/v1/namespaces/lab/pods/web/exec?command=sh",
        "HEAD /api/v1/namespaces/lab/pods/web/exec",
        "POST /api/v1/namespaces/lab/pods/web/exec/",
        "POST /api/v1/namespaces/lab/pods/web/%65xec",
        "GET /api/v1/watch/namespaces/lab/pods/web/exec",
        "POST /api/v1/namespaces/lab/pods/web/attach",
        "GET /api/v1/namespaces/lab/pods/web/portforward",
        "GET /api/v1/namespaces/lab/pods/web/proxy/",
        "DELETE /api/v1/namespaces/lab/services/web/proxy/a/b",
        "GET /api/v1/nodes/n1/proxy/run",
        "GET /apis/x.io/v1/things/a/proxy",
        "GET /api/v1/proxy/nodes/n1",
        "POST /api/v1/proxy/namespaces/lab/services/web/a",
        "GET /apis/x.io/v1/proxy/things/a",
        "POST /api/v1/namespaces/lab/serviceaccounts/app/token",
        "GET /api/v1/secrets",
        "GET /api/v1/namespaces/lab/secrets/web",
        "GET /api/v1/namespaces/lab/secrets?watch=1",
        "GET /api/v1/watch/secrets",
        "GET /api/v1/watch/namespaces/lab/secrets/web",
        "GET /api/v7/secrets",
        "GET /api/v1/namespaces/lab/%73ecrets/",
        "GET /api/v1/namespaces/lab/secrets/web/status",
        "PATCH /api/v1/namespaces/lab/secrets/web",
        "DELETE /api/v1/namespaces/lab/secrets",
        "GET /clusters/x/api/v1/pods",
        "GET /k8s/clusters/c-1/apis/apps/v1/deployments",
        "GET /clusters/x/api/v1/namespaces/lab/pods/web/exec",
    )

    @pytest.mark.parametrize("request_", REQUESTS)
    def test_not_by_wildcards(self, request_: str) -> None:
        """Neither of verbs, groups, resources nor paths, nor what is allowed by default."""
        assert not allows(self.WILDCARDS, request_)
        assert not allows(policy((), False), request_)
        assert not allows(policy((), True), request_)

    @pytest.mark.parametrize("request_", REQUESTS)
    def test_by_what_is_told(self, request_: str) -> None:
        """The rule that the refusal names."""
        rule = suggested(told(policy((), True), request_))
        assert rule is not None
        assert allows(policy([parse_rule(rule)], True), request_)
        assert allows(rule, request_)

    @pytest.mark.parametrize(
        ("rule", "allowed"),
        [
            ("create:pods/exec", "POST .*/(exec|%65xec).*"),
            ("create,get:pods/exec", "(POST|GET|HEAD) /api/v1/namespaces/lab/pods/web/(exec|%65xec).*"),
            ("*:pods/exec", "[A-Z]+ /api/v1/(watch/)?namespaces/lab/pods/web/(exec|%65xec).*"),
            ("*:*/exec", "[A-Z]+ /api/v1/(watch/)?namespaces/lab/pods/web/(exec|%65xec).*"),
            ("*:*/attach:lab:web", ".*/web/attach"),
            ("get:pods/portforward", ".*/portforward"),
            ("*:*/proxy", ".*/proxy(/a/b|/|/run|)"),
            ("*:pods/proxy", ".*/pods/web/proxy/"),
            ("proxy:nodes", "GET /api/v1/proxy/nodes/n1"),
            ("proxy:*", "[A-Z]+ /apis?/(x.io/)?v1/proxy/.*"),
            ("proxy:secrets", "nothing"),
            ("*:*/token", "nothing"),
            ("*:serviceaccounts", "nothing"),
            ("create:serviceaccounts/token", ".*/token"),
            ("*:secrets", ".*secrets(/web|[?]watch=1|/)?"),
            ("get:secrets:lab", "GET /api/v1/namespaces/lab/secrets/web"),
            ("get,list:secrets:*:web", "GET /api/v1/namespaces/lab/secrets/web"),
            ("*:*/status", "nothing"),
            ("*:secrets/status", ".*/secrets/web/status"),
            ("*:secrets.x.io", "nothing"),
            ("get:/clusters/*", "GET /clusters/.*"),
            ("get:/clusters/x/api/v1/pods", "GET /clusters/x/api/v1/pods"),
        ],
    )
    def test_named(self, rule: str, allowed: str) -> None:
        """A rule that names it does, and no other; ``allowed`` is a regular expression."""
        pattern = re.compile(allowed.replace("secrets", "(?:s|%73)ecrets"))
        judge = policy([parse_rule(rule)], True)
        assert [request for request in self.REQUESTS if allows(judge, request)] == [
            request for request in self.REQUESTS if pattern.fullmatch(request)
        ]

    def test_every_group_may_be_named(self) -> None:
        """The resource is what counts."""
        rule = Rule(("*",), api_groups=("*",), resources=("secrets", "serviceaccounts/token"))
        assert allows(Policy([rule]), "GET /api/v1/secrets")
        assert allows(Policy([rule]), "POST /api/v1/namespaces/a/serviceaccounts/b/token")

    def test_only_the_core_groups(self) -> None:
        """What is called so elsewhere is something else."""
        assert allows(policy((), False), "GET /apis/x.io/v1/secrets/a")
        assert allows("*:*", "POST /apis/x.io/v1/serviceaccounts/a/token")
        assert not allows("*:*", "POST /apis/x.io/v1/pods/a/exec")

    def test_all_that_there_is(self) -> None:
        """Of a real server's resources, with all wildcards there are."""
        judge = Policy([parse_rule(text) for text in self.WILDCARDS.split()])
        left = set()
        for entry in recorded("api-v1").json["resources"] + recorded("apis-apps-v1").json["resources"]:
            resource, _, subresource = entry["name"].partition("/")
            if not allows(judge, Asked("get", "/", "", resource, subresource, "lab", "web")):
                left.add(entry["name"])
        assert left == {
            "nodes/proxy",
            "pods/attach",
            "pods/exec",
            "pods/portforward",
            "pods/proxy",
            "secrets",
            "serviceaccounts/token",
            "services/proxy",
        }
        assert {"exec", "attach", "portforward", "proxy"} == THROUGH
        assert {"secrets", "serviceaccounts/token"} == ALONE


class TestPolicy:
    """What options say."""

    READS = (
        "GET /api/v1/pods",
        "GET /apis/a/b/c/d",
        "GET /api/v1/pods?watch=1",
        "GET /metrics",
        "HEAD /logs/x",
    )
    WRITES = (
        "POST /api/v1/pods",
        "PUT /apis/a/b/c/d",
        "PATCH /api/v1/nodes/n",
        "DELETE /api/v1/nodes/n",
        "DELETE /api/v1/pods",
    )

    def test_by_default(self) -> None:
        """Reading, and nothing else."""
        default = policy((), False)
        assert default.rules == READ
        assert all(allows(default, request) for request in self.READS)
        assert not any(allows(default, request) for request in self.WRITES)
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            for path in ("/metrics", "/", "/api/v1"):
                assert not allows(default, f"{method} {path}")

    def test_allow_write(self) -> None:
        """Writing as well; not to what is no resource."""
        both = policy((), True)
        assert both.rules == READ + WRITE
        assert all(allows(both, request) for request in self.READS + self.WRITES)
        assert not allows(both, "POST /metrics")

    def test_allow(self) -> None:
        """Instead of reading, but beside writing."""
        rule = parse_rule("create:pods/exec:lab")
        assert policy([rule], False).rules == (rule,)
        assert policy([rule], True).rules == (*READ, *WRITE, rule)
        assert not any(allows(policy([rule], False), request) for request in self.READS + self.WRITES)


class TestTold:
    """What a refusal says."""

    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            (
                "POST /api/v1/namespaces/lab/pods/web/exec",
                (
                    "create pods/exec in namespace lab (web) isn't allowed, since no wildcard covers it; "
                    "--allow create:pods/exec:lab would allow it; "
                    "--allow replaces what is allowed by default, so add --allow 'get,list,watch:*' to keep that"
                ),
            ),
            (
                "DELETE /apis/apps/v1/namespaces/lab/deployments/web",
                (
                    "delete deployments.apps in namespace lab (web) isn't allowed; "
                    "--allow delete:deployments.apps:lab would allow it, or --allow-write with all other writing; "
                    "--allow replaces what is allowed by default, so add --allow 'get,list,watch:*' to keep that"
                ),
            ),
            (
                "GET /api/v1/namespaces/lab/secrets/web-tls",
                (
                    "get secrets in namespace lab (web-tls) isn't allowed, since no wildcard covers it; "
                    "--allow get:secrets:lab:web-tls would allow it; "
                    "--allow replaces what is allowed by default, so add --allow 'get,list,watch:*' to keep that"
                ),
            ),
        ],
    )
    def test_by_default(self, request_: str, message: str) -> None:
        """In Kubernetes' terms, and what would help."""
        assert told(policy((), False), request_) == message

    @pytest.mark.parametrize(
        ("rules", "request_", "parts"),
        [
            (
                "list:pods:lab",
                "GET /api/v1/pods",
                [
                    "list pods at the cluster scope isn't allowed",
                    "the rules allow it in namespace lab alone, so ask for it there (kubectl -n lab)",
                    "--allow list:pods would",
                ],
            ),
            (
                "list:pods:lab,dev",
                "GET /api/v1/namespaces/prod/pods",
                ["the rules allow it in namespace dev, lab alone; --allow list:pods:prod would"],
            ),
            (
                "get,list:pods:lab:web",
                "GET /api/v1/namespaces/lab/pods",
                [
                    "of web alone, so ask for that (kubectl --field-selector metadata.name=web)",
                    "--allow list:pods:lab would",
                ],
            ),
            (
                "get:pods:lab:web",
                "GET /api/v1/namespaces/lab/pods/db",
                ["of web alone; --allow get:pods:lab would"],
            ),
            (
                "create:pods:lab:web",
                "POST /api/v1/namespaces/lab/pods",
                ["of web alone, and this request has no name to look at"],
            ),
            (
                "get:pods:lab:web",
                "GET /api/v1/namespaces/dev/pods/db",
                ["(db) isn't allowed; --allow get:pods:dev"],
            ),
            ("get:pods", "GET /metrics", ["get /metrics isn't allowed; --allow get:/metrics would allow it"]),
            (
                "get:pods",
                "HEAD /metrics",
                ["head /metrics isn't allowed; --allow get:/metrics would allow it"],
            ),
            ("get:pods", "POST /metrics", ["--allow post:/metrics would allow it"]),
            (
                "get:pods",
                "GET /api/v1/nodes/n1",
                ["get nodes at the cluster scope (n1) isn't allowed; --allow get:nodes would"],
            ),
            (
                "*:*",
                "GET /api/v1/proxy/nodes/n1",
                [
                    "proxy nodes at the cluster scope (n1) isn't allowed, since no wildcard",
                    "--allow proxy:nodes would",
                ],
            ),
            (
                "*:/*",
                "GET /x/api/v1/pods",
                ["get /x/api/v1/pods isn't allowed, since no wildcard", "--allow get:/x/api/v1/pods"],
            ),
            ("*:*", "GET /api/v1/secrets/a", ["--allow 'get:secrets:*:a' would"]),
            ("get:pods", "GET /api/v1/namespaces/lab/a$(b)", ["and no rule can be written for such a name"]),
            ("get:pods", "GET /api/v1/namespaces/lab/a,b", ["and no rule can be written"]),
            ("get:pods", "GET /api/v1/*", ["and no rule can be written"]),
            ("get:pods", "GET /api/v1/namespaces/a:b/pods", ["and no rule can be written"]),
            ("get:pods", "GET /apis/*/v1/pods", ["and no rule can be written"]),
            ("get:pods", "GET /a*", ["and no rule can be written"]),
        ],
    )
    def test_where_it_helps(self, rules: str, request_: str, parts: list[str]) -> None:
        """Where else it is allowed, of what, and by which rule."""
        message = told(Policy([parse_rule(text) for text in rules.split()]), request_)
        for part in parts:
            assert part in message
        assert "replaces" not in message

    def test_allow_write_where_it_would(self) -> None:
        """For writing to resources, but not for what is sensitive, and not if it is there."""
        default, write = policy((), False), policy((), True)
        assert "--allow-write" in told(default, "POST /api/v1/pods")
        assert "--allow-write" not in told(default, "POST /metrics")
        assert "--allow-write" not in told(default, "PATCH /api/v1/secrets/a")
        assert "--allow-write" not in told(default, "POST /api/v1/pods/a/exec")
        assert "--allow-write" not in told(write, "PATCH /api/v1/secrets/a")
        assert "replaces" not in told(write, "PATCH /api/v1/secrets/a")
        assert "--allow-write" in told(Policy([parse_rule("get:pods")]), "DELETE /api/v1/pods")
        assert "--allow-write" not in told(Policy([parse_rule("get:pods")]), "GET /api/v1/pods")

    def test_many(self) -> None:
        """Some of them."""
        names = ",".join(f"n{number}" for number in range(20))
        message = told(Policy([parse_rule(f"get:pods:*:{names}")]), "GET /api/v1/pods/a")
        assert "of n0, n1, n10, n11, n12 and others alone" in message

    def test_long_names(self) -> None:
        """A client can't fill the log."""
        assert (
            len(told(policy((), False), f"DELETE /api/v1/namespaces/{'a' * 1500}/pods/{'b' * 1500}")) < 2500
        )

    def test_shells(self) -> None:
        """A rule that is copied from a message does nothing but what it says."""
        message = told(Policy(()), "GET /api/v1/namespaces/lab/secrets/$(reboot)'&")
        assert suggested(message) == "get:secrets:lab:$(reboot)'&"
        assert allows("get:secrets:lab:$(reboot)'&", "GET /api/v1/namespaces/lab/secrets/$(reboot)'&")


PART = st.sampled_from(
    ["api", "apis", "v1", "apps", "x.io", "watch", "proxy", "namespaces", "lab", "a:b", "a,b", "*", "pods", "secrets",
     "serviceaccounts", "token", "exec", "status", "Web", "$(x)", "...", "a'b", "=", "-"]
)  # fmt: skip


@given(st.sampled_from(["GET", "POST", "DELETE", "HEAD"]), st.lists(PART, max_size=9), st.booleans())
def test_suggestions_hold(method: str, parts: list[str], allow_write: bool) -> None:
    """A refused request is allowed with the rule that its refusal names, and another one isn't."""
    try:
        it = of(f"{method} /{'/'.join(parts)}")
    except Refusal:
        return
    refusal = tried(policy((), allow_write), it)
    if refusal is None:
        return
    assert refusal.message.isascii() and refusal.message.isprintable()
    rule = suggested(refusal.message)
    if rule is not None:
        assert allows(rule, it)
        assert not allows(rule, Asked("patch", "/other", "other", "others", "", "other", "other"))
        assert "*" not in rule.replace(":*:", "")
