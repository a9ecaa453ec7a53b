"""x"""

from flask import Blueprint

web = Blueprint("images", __name__)
