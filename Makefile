# The menu. `make up` and `make test` install what they miss.
PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
help: ## Show this menu
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

proto: ## Generate the protobuf and gRPC stubs
	$(BIN)/python tools/gen_proto.py

format: ## Format the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .
