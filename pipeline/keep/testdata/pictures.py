"""Draws pictures of many kinds, each with a red square as its face: FOLDER/NAME, and what they are as JSON."""

import json
import sys
from pathlib import Path

from PIL import Image, ImageDraw

folder = Path(sys.argv[1])
face = (240, 120, 160, 160)  # x, y, width, height in the upright picture
size = (800, 600)


def scene(background=(40, 90, 150)):
    m = Image.new("RGB", size, background)
    x, y, w, h = face
    ImageDraw.Draw(m).rectangle((x, y, x + w - 1, y + h - 1), fill=(250, 10, 10))
    return m


def exif(orientation):
    e = Image.Exif()
    e[0x112] = orientation
    return e


turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270,
         2: Image.Transpose.FLIP_LEFT_RIGHT, 5: Image.Transpose.TRANSPOSE}
upright = scene()
upright.save(folder / "plain.jpg", quality=95)
upright.save(folder / "progressive.jpg", quality=95, progressive=True)
for orientation, turn in turns.items():
    upright.transpose(turn).save(folder / f"turned-{orientation}.jpg", quality=95, exif=exif(orientation))
upright.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
upright.convert("L").save(folder / "grey.jpg", quality=95)
upright.convert("LA").save(folder / "grey-alpha.png")
clear = upright.convert("RGBA")
clear.putalpha(Image.new("L", size, 255))
clear.paste((0, 0, 0, 0), (0, 0, 200, 600))
clear.save(folder / "alpha.png")
upright.quantize(16).save(folder / "palette.png")
later = Image.new("RGB", size, (0, 255, 0))
upright.save(folder / "animation.gif", save_all=True, append_images=[later, later], duration=50)
upright.save(folder / "animation.webp", save_all=True, append_images=[later], duration=50, quality=95)
upright.save(folder / "lossless.webp", lossless=True)
upright.save(folder / "photo.bmp")
upright.save(folder / "photo.tif")
small = upright.resize((200, 150))
small.save(folder / "small.jpg", quality=95)
small.save(folder / "small.png")

about = {}
for path in sorted(folder.iterdir()):
    scale = 4 if path.name.startswith("small") else 1
    about[path.name] = {"width": size[0] // scale, "height": size[1] // scale, "face": [v // scale for v in face]}
print(json.dumps(about))
