"""The demo: pick an image, click a pixel, see what kernels made per pixel or per block do there, guided or not.

    make demo            or            python app.py [--port 7860] [--no-browser]

The page is in sgdc_viz/demo. Nothing leaves this computer, and uploaded images are not kept: the file is deleted as
soon as it is read, the pixels are forgotten once enough others have been looked at.
"""

from sgdc_viz.demo.__main__ import main

if __name__ == "__main__":
    main()
