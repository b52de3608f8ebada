# Reads a broken page, finds by tag, class and selector, and changes it.
import random

from bs4 import BeautifulSoup

page = """<html><body><h1>Shop</h1><ul id=list>
<li class="item"><a href="/a">A</a> <b>1.50</b>
<li class="item sale"><a href="/b">B</a> <b>2.25</b>
</ul><p>unclosed<script>var x = "<li>";</script></body>"""
soup = BeautifulSoup(page, "html.parser")
items = soup.find_all("li", class_="item")
for link in soup.find_all("a"):
    link["href"] = "https://example.org" + link["href"]

{
    "value": {
        "title": soup.h1.get_text(),
        "items": len(items),
        "prices": sum(float(tag.string) for tag in soup.select("li.item > b")),
        "sale": soup.select_one(".sale a").text,
        "links": [link["href"] for link in soup.select("a[href^=https]")],
    },
    "random": [random.random()],
}
