"""Serves ministack's or moto's DynamoDB, in memory, on a free port of 127.0.0.1.

    serve.py ENGINE PORT_FILE

Writes the port to PORT_FILE, and ends when its standard input ends. So the server always ends together with the
script that started it, even if that script is killed.

This script does not use the engines' own commands. ministack's command listens on every interface by default, starts
schedulers and further listeners, and looks for containers to remove. moto's command cannot pick a free port by itself.
The request handlers here are the same as in those commands.
"""

import os
import socket
import sys
import threading


def end_with_standard_input():
    def watch():
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def say_port(path, port):
    # Rename the complete file into place, so that the script never reads half of it.
    with open(path + ".partial", "w") as file:
        file.write(f"{port}\n")
    os.rename(path + ".partial", path)


def listener():
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    return listening


def ministack(port_file):
    import asyncio

    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    async def requests_only(scope, receive, send):
        """Skips the application's start and end actions: schedulers, listeners, containers."""
        if scope["type"] != "lifespan":
            return await app(scope, receive, send)
        while True:
            event = (await receive())["type"]
            await send({"type": event + ".complete"})
            if event == "lifespan.shutdown":
                return

    listening = listener()
    config = Config()
    config.bind = [f"fd://{listening.fileno()}"]
    config.loglevel = "WARNING"
    # The engine's own command uses this value. If a connection closes while a request is in flight, the client assumes
    # that the reply was lost.
    config.keep_alive_timeout = 75
    say_port(port_file, listening.getsockname()[1])
    asyncio.run(serve(requests_only, config))


def moto(port_file):
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    class Quiet(MotoRequestHandler):
        def log_request(self, *_):
            pass

    # Make threads switch often. Then a write in two steps causes failures on every machine, not only on a fast one.
    sys.setswitchinterval(1e-5)
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    say_port(port_file, server.port)
    server.serve_forever()


if __name__ == "__main__":
    engine, port_file = sys.argv[1:]
    end_with_standard_input()
    {"ministack": ministack, "moto": moto}[engine](port_file)
