"""The demo's page: what is shown (view, gallery, parts) and how Gradio shows it (page). Needs the extra "app".

python app.py serves it.
"""
