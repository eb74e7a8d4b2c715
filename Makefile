# Every target first makes .venv (see .ci/make-venv; a second make installs nothing), then runs from it.
# PYTHON=python3.12 make demo   makes .venv with that Python. On Windows see README.md.

VENV = .venv
PY = $(VENV)/bin/python
# JupyterLab wants to be told that it runs as root, as in a container.
ROOT = $(if $(filter 0,$(shell id -u)),--allow-root)
install = @VENV="$(VENV)" PYTHON="$(PYTHON)" sh .ci/make-venv

.PHONY: help demo lab notebooks bench evidence test audit clean
.NOTPARALLEL:

help: ## this list
	@grep -E '^[a-z]+: .*## ' Makefile | sed -E 's/^([a-z]+):.*## /make \1~/' | awk -F '~' '{ printf "%-16s %s\n", $$1, $$2 }'

demo: ## the page: click a pixel, see the kernel that SGDC made there
	$(install) app
	$(PY) app.py

lab: ## the course in JupyterLab: your own copy, without solutions, in my-course/
	$(install) app,notebooks
	$(PY) -m sgdc_viz course --out my-course
	$(PY) -m jupyterlab $(ROOT) my-course/00_start_here.ipynb

notebooks: ## run every notebook and save its outputs in place
	$(install) app,notebooks
	$(PY) -m nbconvert --to notebook --execute --inplace --ExecutePreprocessor.timeout=300 \
		--ExecutePreprocessor.store_widget_state=False --ExecutePreprocessor.record_timing=False notebooks/*.ipynb

bench: ## speed and memory of the operator, the blocks and the page on this machine
	$(install) app
	$(PY) -m sgdc_viz bench --page --plots build

evidence: ## tables and figures about guided against pooled, anew from the results in assets/evidence
	$(install) app
	$(PY) -m sgdc_viz evidence

test: ## lint, all tests, all notebooks (strict)
	$(install) app,notebooks,test
	$(PY) -m ruff check
	$(PY) -m pytest -n 2 --dist loadfile

audit: ## known security holes in the pinned packages (asks osv.dev)
	@sh .ci/audit

clean: ## remove .venv and what tools left behind, never results
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .gradio notebooks/.ipynb_checkpoints
	find sgdc_viz tests -name __pycache__ -type d -prune -exec rm -rf {} +
