# Writes a document, encrypts it, joins it and reads it back.
import random
from io import BytesIO

from pypdf import PdfReader, PdfWriter

writer = PdfWriter()
for width in (200, 300, 400):
    writer.add_blank_page(width=width, height=100)
writer.add_metadata({"/Title": "A title"})
writer.add_outline_item("second", 1)
plain = BytesIO()
writer.write(plain)
writer.encrypt("secret", algorithm="RC4-128")
with open("locked.pdf", "wb") as file:
    writer.write(file)
locked = PdfReader("locked.pdf")
was_locked = locked.is_encrypted
unlocked = bool(locked.decrypt("secret"))
joined = PdfWriter()
joined.append(plain, pages=(0, 2))
joined.append(plain, pages=(2, 3))
joined.pages[0].rotate(90)

{
    "value": {
        "pages": len(joined.pages),
        "widths": [int(page.mediabox.width) for page in joined.pages],
        "title": PdfReader(plain).metadata.title,
        "locked": was_locked,
        "unlocked": unlocked and len(locked.pages),
        "rotated": joined.pages[0].rotation,
    },
    "random": [random.random()],
}
