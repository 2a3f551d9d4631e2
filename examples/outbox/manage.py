"""The shop in Django: `manage.py migrate --run-syncdb`, `manage.py place ann`, `manage.py relay`."""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line

settings.configure(
    INSTALLED_APPS=["shop"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("SHOP_DATABASE", "shop.sqlite3"),
            "OPTIONS": {"timeout": 30},
        }
    },
)

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
