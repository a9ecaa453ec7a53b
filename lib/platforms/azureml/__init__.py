"""Azure Machine Learning, through azureml-sdk v1."""

import warnings

# Python 3.12 and later print this warning among a task's output while they compile the SDK, whose code is not ours.
warnings.filterwarnings("ignore", message=r".*invalid escape sequence", category=SyntaxWarning)
