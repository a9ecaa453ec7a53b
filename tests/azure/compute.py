"""x"""

from flask import Blueprint

web = Blueprint("compute", __name__)
data = Blueprint("computedata", __name__)
