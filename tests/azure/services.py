"""x"""

from flask import Blueprint

web = Blueprint("services", __name__)
front = Blueprint("front", __name__)
