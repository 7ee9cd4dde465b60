"""The resource: pydantic models of spec and status, from which the CRD is generated."""
