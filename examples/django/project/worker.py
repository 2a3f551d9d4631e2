"""What a worker serves: `sharded-queue worker project.worker`."""

import os
from importlib import import_module

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()  # before any model is imported

import_module("shop.handlers")
