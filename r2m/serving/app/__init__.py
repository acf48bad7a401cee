"""App that captions images and searches them in a browser, with Gradio."""
