"""Generated messages of the OpenAPI v2 document in protobuf, as kubectl asks for it."""
