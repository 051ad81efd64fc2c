from .app import make_ui_app as make_ui_app
