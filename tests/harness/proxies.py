"""Real proxies between services: nginx, HAProxy and Envoy as processes of their own, each in front of schedulers.

The settings are those of docs/how-to/load-balancers.md; a test may take one away or add one. A test whose program is
not installed is skipped.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.harness.process import Process, program
from tests.harness.processes import free_port
from tests.harness.waiting import wait_until

_START_LIMIT = 60.0
_NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{}}
http {{
  access_log {folder}/calls;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream schedulers {{ {servers} }}
  server {{
    listen 127.0.0.1:{port};
    http2 on;
    location / {{
      grpc_pass grpc://schedulers;
      {settings}
    }}
    {unavailable}
  }}
}}
"""
NGINX_SETTINGS = (
    "client_max_body_size 0; grpc_read_timeout 1d; grpc_send_timeout 1d; client_body_timeout 1d; "
    "error_page 502 503 504 = @unavailable;"
)
NGINX_UNAVAILABLE = """location @unavailable {
  default_type application/grpc;
  add_header grpc-status 14;
  add_header grpc-message "the proxy reaches no scheduler";
  return 200 "";
}"""
_HAPROXY = """
defaults
  mode http
  timeout connect 5s
  {settings}
frontend workers_and_callers
  bind 127.0.0.1:{port} proto h2
  default_backend schedulers
backend schedulers
  option redispatch
  {servers}
"""
_REFUSAL = 'hdr grpc-status 14 hdr grpc-message "the proxy reaches no scheduler"'
HAPROXY_SETTINGS = f"""timeout client 1d
  timeout server 1d
  http-error status 502 {_REFUSAL}
  http-error status 503 {_REFUSAL}
  http-error status 504 {_REFUSAL}"""
_ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: contentgen
          codec_type: HTTP2
          stream_idle_timeout: 0s
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: schedulers, {settings}}}
  clusters:
  - name: schedulers
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: schedulers
      endpoints:
      - lb_endpoints:
{servers}
"""
ENVOY_SETTINGS = "timeout: 0s"


@contextmanager
def nginx(folder: Path, ports: Sequence[int], settings: str = NGINX_SETTINGS) -> Iterator[str]:
    """Yields the target of nginx, in front of the schedulers on these ports; `settings` are of its location."""
    executable, port, config = program("nginx"), free_port(), folder / "nginx.conf"
    servers = " ".join(f"server 127.0.0.1:{upstream} max_fails=0;" for upstream in ports)
    config.write_text(
        _NGINX.format(folder=folder, port=port, servers=servers, settings=settings, unavailable=NGINX_UNAVAILABLE)
    )
    yield from _running([executable, "-c", str(config), "-p", str(folder), "-e", "stderr"], folder, port)


@contextmanager
def haproxy(folder: Path, ports: Sequence[int], settings: str = HAPROXY_SETTINGS) -> Iterator[str]:
    """Yields the target of HAProxy, in front of the schedulers on these ports; `settings` are its defaults."""
    port, config = free_port(), folder / "haproxy.cfg"
    servers = "\n  ".join(f"server scheduler{upstream} 127.0.0.1:{upstream} proto h2" for upstream in ports)
    config.write_text(_HAPROXY.format(port=port, servers=servers, settings=settings))
    yield from running_haproxy(config, port)


def running_haproxy(config: Path, port: int) -> Iterator[str]:
    """Yields the target of HAProxy with this file, which has it listen on `port`."""
    yield from _running([program("haproxy"), "-db", "-f", str(config)], config.parent, port)


@contextmanager
def envoy(folder: Path, ports: Sequence[int], settings: str = ENVOY_SETTINGS) -> Iterator[str]:
    """Yields the target of Envoy, in front of the schedulers on these ports; `settings` are of its route."""
    executable, port, config = program("envoy"), free_port(), folder / "envoy.yaml"
    address = "{{socket_address: {{address: 127.0.0.1, port_value: {}}}}}"
    servers = "\n".join(f"        - endpoint: {{address: {address.format(upstream)}}}" for upstream in ports)
    config.write_text(_ENVOY.format(port=port, servers=servers, settings=settings))
    command = [executable, "-c", str(config), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
    yield from _running(command, folder, port)


def _running(command: Sequence[str], folder: Path, port: int) -> Iterator[str]:
    name = Path(command[0]).name
    with Process(name, command, folder / f"{name}.log", os.environ):
        wait_until(lambda: _listens(port), within=_START_LIMIT, what=f"{name} listens")
        yield f"127.0.0.1:{port}"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
