"""The floor's service, as FastAPI's own documentation would write it."""

import joblib
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load("model.joblib")


class Rows(BaseModel):
    """The body of a request."""

    data: list[list[float]]


@app.post("/score")
def score(rows: Rows) -> dict[str, list[float]]:
    """Predict one number for each row."""
    return {"result": model.predict(rows.data).tolist()}
