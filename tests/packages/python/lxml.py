# Parses HTML and XML, asks with XPath, transforms with XSLT and validates, in libxml2.
import random
from io import BytesIO

from lxml import etree, html

page = html.fromstring("<table>" + "".join(f"<tr><td>{i}<td>{i * i}</tr>" for i in range(100)) + "</table>")
squares = [int(cell) for cell in page.xpath("//tr/td[2]/text()")]
feed = etree.fromstring(b"<feed xmlns='urn:x'><entry id='1'>one</entry><entry id='2'>two</entry></feed>")
style = etree.XSLT(etree.XML(
    "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform' xmlns:x='urn:x'>"
    "<xsl:template match='/'><n><xsl:value-of select='count(//x:entry)'/></n></xsl:template></xsl:stylesheet>"
))
schema = etree.RelaxNG(etree.XML(
    "<element name='a' xmlns='http://relaxng.org/ns/structure/1.0' datatypeLibrary='http://www.w3.org/2001/XMLSchema-datatypes'><data type='integer'/></element>"
))
stream = BytesIO(b"<r>" + b"<i>1</i>" * 1000 + b"</r>")

{
    "value": {
        "squares": sum(squares),
        "entries": feed.xpath("//x:entry/text()", namespaces={"x": "urn:x"}),
        "transformed": style(feed).getroot().text,
        "valid": [schema.validate(etree.XML("<a>1</a>")), schema.validate(etree.XML("<a>b</a>"))],
        "streamed": sum(int(element.text) for _, element in etree.iterparse(stream, tag="i")),
    },
    "random": [random.random()],
}
