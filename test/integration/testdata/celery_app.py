"""Tasks for Celery, with a broker in folders: it needs no server."""
import os
import time

from celery import Celery

broker = os.environ["BROKER_FOLDER"]
app = Celery("celery_app", broker="filesystem://")
app.conf.broker_transport_options = {"data_folder_in": broker, "data_folder_out": broker, "store_processed": False}
app.conf.worker_prefetch_multiplier = 1

KEPT = []


def note(what, number):
    with open(os.environ["LEDGER"], "a") as ledger:
        ledger.write(f"{what} {number} {os.getpid()}\n")


@app.task
def leak(number, megabytes, seconds):
    """Keeps some memory, then goes on for a while."""
    note("start", number)
    KEPT.append(b"x" * (megabytes << 20))
    time.sleep(seconds)
    note("done", number)
