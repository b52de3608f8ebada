# Draws, scales and filters a picture, and writes and reads three formats.
import os
import random

from PIL import Image, ImageDraw, ImageFilter, ImageFont

image = Image.new("RGB", (320, 240), "white")
draw = ImageDraw.Draw(image)
draw.rectangle([40, 40, 119, 119], fill=(255, 0, 0))
draw.text((150, 100), "text", fill="black", font=ImageFont.load_default(size=20))
red = sum(1 for pixel in image.get_flattened_data() if pixel == (255, 0, 0)) if hasattr(image, "get_flattened_data") else sum(1 for pixel in image.getdata() if pixel == (255, 0, 0))
small = image.resize((32, 24), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(1))
sizes = {}
for kind in ("PNG", "JPEG", "WEBP"):
    small.save(f"small.{kind.lower()}")
    with Image.open(f"small.{kind.lower()}") as read:
        read.load()
        sizes[kind] = [*read.size, read.format]

{
    "value": {"red": red, "sizes": sizes, "grey": image.convert("L").getpixel((50, 50)), "written": os.path.getsize("small.png") > 100},
    "random": [random.random()],
}
