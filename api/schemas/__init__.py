"""What the API answers with, as pydantic models; what it takes is in `searchd.spec`."""
