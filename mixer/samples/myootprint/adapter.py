"""An adapter for Mixer: writes down the metric instances that it is sent."""

import argparse
import pathlib
import signal
import sys
import threading
from concurrent import futures

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "gen"))

import grpc
from google.protobuf import json_format

import config_pb2
from mixer.template.metric import template_handler_service_pb2 as service
from mixer.template.metric import template_handler_service_pb2_grpc as service_grpc
from istio.mixer.adapter.model.v1beta1 import report_pb2 as report


class Adapter(service_grpc.HandleMetricServiceServicer):
    def __init__(self):
        self._lock = threading.Lock()

    def HandleMetric(self, request, context):
        params = parameters(request.adapter_config, context)
        for instance in request.instances:
            self.write(instance, params)
        return report.ReportResult()

    def write(self, instance, params):
        # The name is among the fields.
        line = "metric " + json_format.MessageToJson(
            instance, preserving_proto_field_name=True, indent=None
        )
        with self._lock:
            print(line, flush=True)
            if params.file_path:
                with open(params.file_path, "a", encoding="utf-8") as file:
                    file.write(line + "\n")


def parameters(config, context):
    """What the operator set in the handler."""
    params = config_pb2.Params()
    if config.type_url and not config.Unpack(params):
        context.abort(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"adapter_config is a {config.type_url}, not a {params.DESCRIPTOR.full_name}",
        )
    return params


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("address", nargs="?", default="127.0.0.1:9070", help="host:port to listen on")
    arguments.add_argument("--certificate", type=pathlib.Path, help="PEM file; with --key the adapter speaks TLS")
    arguments.add_argument("--key", type=pathlib.Path, help="PEM file")
    arguments.add_argument("--ca", type=pathlib.Path, help="PEM file of who signs the certificates of callers")
    arguments = arguments.parse_args()

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    service_grpc.add_HandleMetricServiceServicer_to_server(Adapter(), server)
    if arguments.certificate:
        credentials = grpc.ssl_server_credentials(
            [(arguments.key.read_bytes(), arguments.certificate.read_bytes())],
            root_certificates=arguments.ca.read_bytes() if arguments.ca else None,
            require_client_auth=arguments.ca is not None,
        )
        port = server.add_secure_port(arguments.address, credentials)
    else:
        port = server.add_insecure_port(arguments.address)
    server.start()
    host = arguments.address.rpartition(":")[0]
    print(f"listening on {host}:{port}", flush=True)

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()
    # Calls that have begun are answered.
    server.stop(grace=5).wait()


if __name__ == "__main__":
    main()
