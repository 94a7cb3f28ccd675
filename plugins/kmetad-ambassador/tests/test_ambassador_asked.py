"""What a request asks for, as the API server understands it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kmetad_ambassador.asked import Asked, asked
from kmetad_ambassador.refusal import Refusal
from kmetad_ambassador.target import Target, canonical

from tests.apiserver.recorded import DATA, recorded


def of(request: str) -> Asked:
    """``GET /api/v1/pods``"""
    method, target = request.split(" ", 1)
    return asked(method, canonical(target.encode()))


def terms(request: str) -> tuple[str, ...]:
    """Verb, group, namespace, resource, subresource, name."""
    it = of(request)
    assert it.path == canonical(request.split(" ", 1)[1].encode()).path
    return it.verb, it.api_group, it.namespace, it.resource, it.subresource, it.name


def refused(request: str, status: int, kind: str, *told: str) -> None:
    """It can't be said what it asks for."""
    with pytest.raises(Refusal) as caught:
        of(request)
    assert (caught.value.status, caught.value.kind) == (status, kind)
    for text in told:
        assert text in caught.value.message


class TestRequestInfo:
    """The cases of k8s.io/apiserver's own test (pkg/endpoints/request/requestinfo_test.go)."""

    @pytest.mark.parametrize(
        ("request_", "expected"),
        [
            ("GET /api/v1/namespaces", ("list", "", "", "namespaces", "", "")),
            ("GET /api/v1/namespaces/other", ("get", "", "other", "namespaces", "", "other")),
            ("GET /api/v1/namespaces/other/pods", ("list", "", "other", "pods", "", "")),
            ("GET /api/v1/namespaces/other/pods/foo", ("get", "", "other", "pods", "", "foo")),
            ("HEAD /api/v1/namespaces/other/pods/foo", ("get", "", "other", "pods", "", "foo")),
            ("GET /api/v1/pods", ("list", "", "", "pods", "", "")),
            ("HEAD /api/v1/pods", ("list", "", "", "pods", "", "")),
            ("PATCH /api/v1/namespaces/new", ("patch", "", "new", "namespaces", "", "new")),
            ("GET /api/v1/proxy/namespaces/other/pods/foo", ("proxy", "", "other", "pods", "", "foo")),
            (
                "GET /api/v1/proxy/namespaces/other/pods/foo/sub/not/one",
                ("proxy", "", "other", "pods", "", "foo"),
            ),
            ("GET /api/v1/watch/pods", ("watch", "", "", "pods", "", "")),
            ("GET /api/v1/pods?watch=true", ("watch", "", "", "pods", "", "")),
            ("GET /api/v1/pods?watch=false", ("list", "", "", "pods", "", "")),
            ("GET /api/v1/watch/namespaces/other/pods", ("watch", "", "other", "pods", "", "")),
            ("GET /api/v1/namespaces/other/pods?watch=1", ("watch", "", "other", "pods", "", "")),
            ("GET /api/v1/namespaces/other/pods?watch=0", ("list", "", "other", "pods", "", "")),
            ("GET /api/v1/namespaces/other/pods/foo/status", ("get", "", "other", "pods", "status", "foo")),
            ("GET /api/v1/namespaces/other/pods/foo/proxy/sub", ("get", "", "other", "pods", "proxy", "foo")),
            (
                "PUT /api/v1/namespaces/other/finalize",
                ("update", "", "other", "namespaces", "finalize", "other"),
            ),
            ("PUT /api/v1/namespaces/other/status", ("update", "", "other", "namespaces", "status", "other")),
            ("PATCH /api/v1/namespaces/other/pods/foo", ("patch", "", "other", "pods", "", "foo")),
            ("DELETE /api/v1/namespaces/other/pods/foo", ("delete", "", "other", "pods", "", "foo")),
            ("POST /api/v1/namespaces/other/pods", ("create", "", "other", "pods", "", "")),
            ("DELETE /api/v1/nodes", ("deletecollection", "", "", "nodes", "", "")),
            ("DELETE /api/v1/namespaces", ("deletecollection", "", "", "namespaces", "", "")),
            ("DELETE /api/v1/namespaces/other/pods", ("deletecollection", "", "other", "pods", "", "")),
            (
                "DELETE /apis/extensions/v1/namespaces/other/pods",
                ("deletecollection", "extensions", "other", "pods", "", ""),
            ),
            (
                "POST /apis/extensions/v1/namespaces/other/pods",
                ("create", "extensions", "other", "pods", "", ""),
            ),
            (
                "POST /apis/extensions/v1beta3/namespaces/other/pods",
                ("create", "extensions", "other", "pods", "", ""),
            ),
        ],
    )
    def test_resources(self, request_: str, expected: tuple[str, ...]) -> None:
        """Verb, group, namespace, resource, subresource, name."""
        assert terms(request_) == expected

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/api",
            "/api/",
            "/api/version",
            "/api/version/",
            "/apis",
            "/apis/group",
            "/apis/group/version",
            "/apis/group/version/",
            "/badprefix/version/resource",
            "/apis/version/resource",
            "/not-api/version/resource",
            "/version",
            "/API/v1/pods",
            "/api.v1/v1/pods",
            "/x/api/v1/pods",
            "/apiss/apps/v1/pods",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
    def test_no_resources(self, path: str, method: str) -> None:
        """A path alone, with HTTP's verb."""
        assert of(f"{method} {path}?watch=1&watch=2") == Asked(method.lower(), path)

    @pytest.mark.parametrize(
        ("query", "verb", "name"),
        [
            ("", "list", ""),
            ("?fieldSelector=metadata.name=name1", "list", "name1"),
            ("?watch=true&fieldSelector=metadata.name=name1", "watch", "name1"),
            ("?fieldSelector=foo=bar", "list", ""),
            ("?fieldSelector=metadata.name=name1,foo", "list", ""),
            ("?fieldSelector=metadata.name=name1,foo&watch=true", "watch", ""),
            ("?fieldSelector=metadata.name=name1,foo&watch=false", "list", ""),
        ],
    )
    def test_field_selector(self, query: str, verb: str, name: str) -> None:
        """A selector of one name is that name."""
        assert terms(f"GET /apis/group/version/resource{query}") == (verb, "group", "", "resource", "", name)


class TestRecorded:
    """What a real API server said."""

    _SAID = re.compile(r'cannot (\S+) resource "([^"]*)" in API group "([^"]*)" in the namespace "([^"]*)"')

    def test_forbidden(self) -> None:
        """Each time that it refused, it said what had been asked."""
        seen = set()
        for path in sorted(DATA.glob("*403*.body")):
            answer = recorded(path.name.removesuffix(".body"))
            said = self._SAID.search(answer.json["message"])
            assert said is not None
            it = of(f"{answer.request['method']} {answer.request['path']}")
            resource = f"{it.resource}/{it.subresource}" if it.subresource else it.resource
            assert (it.verb, resource, it.api_group, it.namespace) == said.groups()
            seen.add(it.verb)
        assert seen == {"get", "list", "watch", "create", "patch", "delete"}

    def test_own_paths(self) -> None:
        """None of those that it lists at / is a resource."""
        assert not any(of(f"GET {path}").resource for path in recorded("root").json["paths"])

    @pytest.mark.parametrize(("group", "name"), [("", "api-v1"), ("apps", "apis-apps-v1")])
    def test_resources(self, group: str, name: str) -> None:
        """All that it has are found again in their paths."""
        start = "/apis/apps/v1" if group else "/api/v1"
        for entry in recorded(name).json["resources"]:
            resource, _, subresource = entry["name"].partition("/")
            where = "/namespaces/lab" if entry["namespaced"] else ""
            path = f"{start}{where}/{resource}/x" + (f"/{subresource}" if subresource else "")
            namespace = "lab" if entry["namespaced"] else "x" if resource == "namespaces" else ""
            assert terms(f"GET {path}") == ("get", group, namespace, resource, subresource, "x")


class TestPaths:
    """What the parts mean."""

    @pytest.mark.parametrize(
        ("request_", "expected"),
        [
            # As the last slash doesn't count.
            ("GET /api/v1/pods/", ("list", "", "", "pods", "", "")),
            ("GET /api/v1/namespaces/lab/", ("get", "", "lab", "namespaces", "", "lab")),
            ("DELETE /api/v1/namespaces/lab/pods/", ("deletecollection", "", "lab", "pods", "", "")),
            ("GET /api/v1/watch/namespaces/", ("watch", "", "", "namespaces", "", "")),
            # A namespace is a resource of any group, with two subresources; else it is where others are.
            ("GET /api/v1/namespaces/lab/status/x", ("get", "", "lab", "namespaces", "status", "lab")),
            ("GET /api/v1/namespaces/lab/finalize", ("get", "", "lab", "namespaces", "finalize", "lab")),
            ("GET /api/v1/namespaces/lab/exec", ("list", "", "lab", "exec", "", "")),
            ("GET /api/v1/namespaces/lab/proxy/x", ("get", "", "lab", "proxy", "", "x")),
            ("GET /api/v1/namespaces/lab/watch/pods", ("get", "", "lab", "watch", "", "pods")),
            (
                "GET /api/v1/namespaces/namespaces/namespaces",
                ("list", "", "namespaces", "namespaces", "", ""),
            ),
            ("GET /api/v1/namespaces/a/namespaces/b", ("get", "", "a", "namespaces", "", "b")),
            ("GET /apis/x.io/v1/namespaces/lab", ("get", "x.io", "lab", "namespaces", "", "lab")),
            ("GET /api/v1/namespaces/status", ("get", "", "status", "namespaces", "", "status")),
            ("GET /api/v1/namespaces/status/status", ("get", "", "status", "namespaces", "status", "status")),
            # What stands behind a subresource is its own business.
            ("POST /api/v1/namespaces/lab/pods/web/exec/x/y", ("create", "", "lab", "pods", "exec", "web")),
            ("GET /api/v1/nodes/n1/proxy/pods/web/exec", ("get", "", "", "nodes", "proxy", "n1")),
            (
                "GET /api/v1/namespaces/lab/services/https:web:443/proxy/",
                ("get", "", "lab", "services", "proxy", "https:web:443"),
            ),
            # The verb in the path.
            ("HEAD /api/v1/watch/pods/web", ("watch", "", "", "pods", "", "web")),
            ("GET /api/v1/watch/namespaces/lab/pods/web/exec", ("watch", "", "lab", "pods", "exec", "web")),
            ("GET /api/v1/watch/watch", ("watch", "", "", "watch", "", "")),
            ("GET /api/v1/watch/proxy/a", ("watch", "", "", "proxy", "", "a")),
            ("GET /apis/apps/v1/watch/deployments", ("watch", "apps", "", "deployments", "", "")),
            ("DELETE /api/v1/proxy/nodes/n1/x", ("proxy", "", "", "nodes", "", "n1")),
            ("POST /api/v1/proxy/nodes", ("proxy", "", "", "nodes", "", "")),
            ("GET /api/v1/proxy/namespaces/lab/status", ("proxy", "", "lab", "namespaces", "", "lab")),
            ("GET /apis/x.io/v1/proxy/things/a", ("proxy", "x.io", "", "things", "", "a")),
            ("GET /api/v1/proxy/watch/pods", ("proxy", "", "", "watch", "", "pods")),
            # What looks like something else.
            ("GET /api/watch/pods/x", ("get", "", "", "pods", "", "x")),
            ("GET /api/apis/apps/v1/pods", ("get", "", "", "apps", "pods", "v1")),
            ("GET /apis/api/v1/pods", ("list", "api", "", "pods", "", "")),
            ("GET /api/v1/*", ("list", "", "", "*", "", "")),
            ("GET /api/v1/pods.apps", ("list", "", "", "pods.apps", "", "")),
            ("GET /api/v1/Secrets", ("list", "", "", "Secrets", "", "")),
            ("GET /api/v1/%73ecrets", ("list", "", "", "secrets", "", "")),
            # Methods of a collection that no server has.
            ("PUT /api/v1/pods", ("update", "", "", "pods", "", "")),
            ("PATCH /api/v1/pods", ("patch", "", "", "pods", "", "")),
            ("POST /api/v1/namespaces/lab/pods/web", ("create", "", "lab", "pods", "", "web")),
        ],
    )
    def test_parts(self, request_: str, expected: tuple[str, ...]) -> None:
        """As RequestInfo reads them."""
        assert terms(request_) == expected

    @pytest.mark.parametrize(
        "path",
        ["/api/v1/watch", "/api/v1/watch/", "/api/v1/proxy", "/apis/apps/v1/watch", "/apis/a/b/proxy/"],
    )
    def test_no_resource(self, path: str) -> None:
        """RequestInfo has an error for it."""
        refused(f"GET {path}", 400, "target", "/RESOURCE")


class TestMethods:
    """Those that the API has."""

    @pytest.mark.parametrize(
        "method",
        [
            "OPTIONS",
            "TRACE",
            "CONNECT",
            "get",
            "Get",
            "PROPFIND",
            "GETT",
            "M-SEARCH",
            "PURGE",
            "LINK",
            "",
            "X" * 999,
        ],
    )
    @pytest.mark.parametrize("path", ["/", "/api/v1/pods", "/api/v1/watch/pods"])
    def test_others(self, method: str, path: str) -> None:
        """No verb belongs to them."""
        refused(f"{method} {path}", 405, "method", "it has GET, HEAD, POST, PUT, PATCH, DELETE")

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    def test_watch_by_path(self, method: str) -> None:
        """To RequestInfo this is the verb watch, which a rule for reading allows."""
        refused(f"{method} /api/v1/watch/namespaces/lab/pods", 405, "method", "/watch/", "GET alone")


class TestParameters:
    """Which parameters of a query count, and how."""

    @pytest.mark.parametrize(
        ("query", "verb"),
        [
            ("watch", "watch"),
            ("watch=", "watch"),
            ("watch=true", "watch"),
            ("watch=no", "watch"),
            ("watch=00", "watch"),
            ("watch=+false", "watch"),
            ("watch=false+", "watch"),
            ("watch=FALSE", "list"),
            ("watch=False", "list"),
            ("watch=f%61lse", "list"),
            ("watch=%30", "list"),
            ("w%61tch=1", "watch"),
            ("%77%61%74%63%68", "watch"),
            ("a=1&&watch=1&", "watch"),
            ("Watch=1", "list"),
            ("watch+=1", "list"),
            ("+watch=1", "list"),
            ("watch%20=1", "list"),
            ("awatch=1&watchb=1", "list"),
            ("a=watch=1", "list"),
            ("a%26watch=1", "list"),
            ("watch%3D1", "list"),
            ("=watch=1", "list"),
            ("a?watch=1", "list"),
        ],
    )
    def test_watch(self, query: str, verb: str) -> None:
        """False and 0 are no, in any case; everything else is yes, nothing too."""
        assert terms(f"GET /api/v1/namespaces/lab/pods?{query}") == (verb, "", "lab", "pods", "", "")
        assert terms(f"HEAD /api/v1/pods?{query}") == (verb, "", "", "pods", "", "")

    @pytest.mark.parametrize(
        ("selector", "name"),
        [
            ("metadata.name=web", "web"),
            ("metadata.name%3Dweb", "web"),
            ("metadata.name==web", "web"),
            ("metadata.name%3d%3dweb", "web"),
            ("%6Detadata.name=web", "web"),
            ("metadata.name=web,status.phase=Running", "web"),
            ("status.phase!=Running,metadata.name=web", "web"),
            (",,metadata.name=web,", "web"),
            ("metadata.name=", ""),
            ("metadata.name!=web", ""),
            ("metadata.name!==web", ""),
            ("metadata.namespace=web", ""),
            ("Metadata.name=web", ""),
            ("+metadata.name=web", ""),
            ("metadata.name+=web", ""),
            ("metadata.name=web,x", ""),
            ("metadata.name=web,x!=a=b", ""),
            ("metadata.name=web,x!==b", ""),
            ("metadata.name=web=x", ""),
            ("metadata.name===web", ""),
            ("metadata.name=web,metadata.name=db", ""),
            ("metadata.name=web,metadata.name=web", ""),
            ("metadata.name=,metadata.name=web", ""),
            ("metadata.name=we%5C,b", ""),
            ("metadata.name=web%5C", ""),
            ("metadata.name=a/b", ""),
            ("metadata.name=a%25b", ""),
            ("metadata.name=.", ""),
            ("metadata.name=..", ""),
            ("metadata.name=a%0Ab", ""),
            ("metadata.name=%C3%BC", ""),
            ("", ""),
        ],
    )
    def test_name(self, selector: str, name: str) -> None:
        """Only where no other object can be meant; a rule with names allows nothing else."""
        assert terms(f"GET /api/v1/pods?fieldSelector={selector}") == ("list", "", "", "pods", "", name)
        assert of(f"GET /api/v1/pods?watch=1&fieldSelector={selector}").name == name

    def test_not_of_others(self) -> None:
        """RequestInfo looks at it where a GET has no name; not for a deletecollection, nor behind /watch/."""
        query = "?fieldSelector=metadata.name=web&watch=1"
        assert of(f"DELETE /api/v1/pods{query}") == Asked("deletecollection", "/api/v1/pods", resource="pods")
        assert of(f"GET /api/v1/watch/pods{query}").name == ""
        assert terms(f"GET /api/v1/pods/db{query}") == ("get", "", "", "pods", "", "db")
        assert of(f"POST /api/v1/pods{query}").name == ""

    @pytest.mark.parametrize(
        "query",
        [
            "watch=1&watch=0",
            "watch&watch",
            "watch=1&a=b&w%61tch=1",
            "fieldSelector=a=b&fieldSelector=metadata.name=web",
            "fieldSelector=&fieldSelector=",
            "fieldSelector&%66ieldSelector",
        ],
    )
    @pytest.mark.parametrize(
        "request_",
        ["GET /api/v1/pods", "DELETE /api/v1/pods", "GET /api/v1/watch/pods", "GET /api/v1/pods/web"],
    )
    def test_twice(self, request_: str, query: str) -> None:
        """Go's first one counts, which others don't know."""
        refused(f"{request_}?{query}", 400, "target", "twice", "write it once")

    def test_of_something_else(self) -> None:
        """Behind a subresource they are that one's."""
        for path in ("/api/v1/namespaces/lab/pods/web/proxy/x", "/api/v1/proxy/nodes/n1", "/version"):
            of(f"GET {path}?watch=1&watch=2")

    @pytest.mark.parametrize("value", ["fal%C5%BFe", "%EF%BC%90", "%E2%84%AA"])
    def test_folding(self, value: str) -> None:
        """A letter that some fold to another, or a digit that isn't 0."""
        refused(f"GET /api/v1/pods?watch={value}", 400, "target", "write watch=true")


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
    st.lists(
        st.sampled_from(["api", "apis", "v1", "watch", "proxy", "namespaces", "status", "pods", "a"]),
        max_size=9,
    ),
)
def test_never_half(method: str, parts: list[str]) -> None:
    """A request is for a resource with a verb of Kubernetes', or for a path with one of HTTP's."""
    target = Target("/" + "/".join(parts), "")
    try:
        it = asked(method, target)
    except Refusal:
        assert {"watch", "proxy"} & set(parts)
        return
    if it.resource:
        assert it.verb in {
            "get",
            "list",
            "watch",
            "create",
            "update",
            "patch",
            "delete",
            "deletecollection",
            "proxy",
        }
        assert bool(it.name) or it.verb in {
            "list",
            "watch",
            "create",
            "update",
            "patch",
            "deletecollection",
            "proxy",
        }
        assert it.name or not it.subresource
    else:
        assert it == Asked(method.lower(), target.path)
