"""Makes pictures in the folder that is named and prints for each its file and its hash by imagehash."""
import os
import sys

import imagehash
import numpy
from PIL import Image

folder = sys.argv[1]
rng = numpy.random.default_rng(1)


def save(name, picture, **how):
    path = os.path.join(folder, name)
    picture.save(path, **how)
    with Image.open(path) as read:
        print(name, imagehash.phash(read))


def scene(width, height, colours):
    """Soft light, shapes with edges, and noise: as steep in its frequencies as a photo."""
    y, x = numpy.mgrid[0:height, 0:width]
    out = numpy.zeros((height, width, colours))
    for c in range(colours):
        small = rng.normal(128, 60, (6, 8)).clip(0, 255).astype(numpy.uint8)
        out[:, :, c] = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    for _ in range(12):
        cx, cy, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(3, 0.3 * min(width, height) + 4)
        out[(x - cx) ** 2 + ((y - cy) * rng.uniform(0.5, 2)) ** 2 < r * r] += rng.normal(0, 50, colours)
    out += rng.normal(0, 6, out.shape)
    return out.clip(0, 255).astype(numpy.uint8)


def size():
    return [int(numpy.exp(rng.uniform(numpy.log(5), numpy.log(900)))) for _ in range(2)]


def grey(pixels):
    return Image.fromarray(pixels.reshape(pixels.shape[:2]))


for i in range(150):
    save(f"scene{i}.png", grey(scene(*size(), 1)))
for i in range(50):
    width, height = size()
    save(f"noise{i}.png", grey(rng.integers(0, 256, (height, width), dtype=numpy.uint8)))
for i, value in enumerate([0, 1, 77, 128, 255]):
    save(f"flat{i}.png", Image.new("L", (90 + i, 60 + 7 * i), value))
for i, (width, height) in enumerate([(32, 32), (1, 1), (1, 200), (300, 1), (31, 33), (64, 64), (5000, 3), (33, 4000)]):
    save(f"size{i}.png", grey(scene(width, height, 1)))
save("down.png", Image.linear_gradient("L"))
save("across.png", Image.linear_gradient("L").rotate(90))
save("radial.png", Image.radial_gradient("L"))
for i in range(2, 40, 3):
    y, x = numpy.mgrid[0:96, 0:96]
    save(f"checkers{i}.png", grey(((x // i + y // i) % 2 * 255).astype(numpy.uint8)))
    square = numpy.zeros((100, 100), numpy.uint8)
    square[i : 100 - i, 2 * i : 100 - 2 * i] = 255
    save(f"square{i}.png", grey(square))
    save(f"corner{i}.png", grey((x + y > 4 * i).astype(numpy.uint8) * 200))
for i in range(200):
    width, height = [s + 60 for s in size()]
    save(f"scene{i}.jpg", Image.fromarray(scene(width, height, 3)), quality=int(rng.integers(40, 96)),
         subsampling=int(rng.integers(0, 3)), progressive=bool(i % 3 == 0))
    save(f"grey{i}.jpg", grey(scene(width, height, 1)), quality=int(rng.integers(40, 96)))
