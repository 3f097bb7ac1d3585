"""Every address of the hospital's page but its entry: all of them need a session."""

from __future__ import annotations

from dataclasses import dataclass

from client.page import acts, endpoints
from client.page.entry import Endpoint


@dataclass(frozen=True)
class Address:
    """A path, its one method, and what answers."""

    path: str
    method: str
    endpoint: Endpoint


ADDRESSES = (
    Address("/", "GET", endpoints.well),
    Address("/left", "GET", endpoints.left),
    Address("/budget", "GET", endpoints.budget),
    Address("/policy", "GET", endpoints.policy),
    Address("/campaigns", "GET", endpoints.campaigns),
    Address("/campaigns/{name}/approve", "POST", acts.approve),
    Address("/campaigns/{name}/withdraw", "POST", acts.withdraw),
    Address("/slides", "GET", endpoints.slides),
    Address("/slides/{key}", "GET", endpoints.slide),
    Address("/slides/{key}/thumbnail", "GET", endpoints.thumbnail),
    Address("/slides/{key}/picture", "GET", endpoints.picture),
    Address("/learning", "GET", endpoints.learning),
    Address("/learning/report", "GET", endpoints.report),
    Address("/pause", "POST", acts.pause),
    Address("/resume", "POST", acts.resume),
    Address("/leave", "POST", acts.leave),
    Address("/events", "GET", endpoints.events),
)
