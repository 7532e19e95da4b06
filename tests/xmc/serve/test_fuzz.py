"""Requests made from the OpenAPI document, good and bad, by Schemathesis: no answer but those that it tells."""

import shutil

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from repetitions import repetitions
from serve_cases import AS_ADMIN, client_of

REQUESTS = repetitions(30, full=500)  # an operation; `python benchmarks/bench_serve.py fuzz` sends 10,000


@pytest.fixture(scope="module")
def schema(tiny_run, tmp_path_factory):
    run = tmp_path_factory.mktemp("fuzz") / "run"  # labels are changed
    shutil.copytree(tiny_run, run)
    with client_of({"run": run}, docs=True) as client:
        yield schemathesis.openapi.from_asgi("/openapi.json", client.app, headers={"host": "127.0.0.1"})


CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
]


def test_only_what_the_document_tells(schema):
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 13
    statuses = set()
    for operation in operations:

        @settings(max_examples=REQUESTS, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(case=operation.as_strategy())
        def check(case):
            answer = case.call(headers={**AS_ADMIN, "host": "127.0.0.1"})
            statuses.add(answer.status_code)
            case.validate_response(answer, checks=CHECKS)

        check()
    assert {200, 422} <= statuses <= {200, 404, 409, 422}
