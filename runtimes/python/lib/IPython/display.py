"""`IPython.display` in a sandbox without the package: what is displayed goes to the run's rich
results."""

from belljar_driver.notebook import DisplayHandle, clear_output, display, publish_display_data, update_display


class DisplayObject:
    """Data to be shown: given as such, or read from a file. A URL stays one where the kind can name
    it."""

    _read_flags = "r"

    def __init__(self, data=None, url=None, filename=None, metadata=None, **_):
        from os.path import isfile

        if data is not None and type(data).__name__.endswith("Path"):
            data = str(data)
        if isinstance(data, str) and data.startswith(("http://", "https://")) and url is None:
            data, url = None, data
        elif isinstance(data, str) and filename is None and len(data) < 4096 and self._may_be_file(data) and isfile(data):
            data, filename = None, data
        self.data, self.url, self.filename, self.metadata = data, url, filename, metadata or {}
        if self.data is None and filename is not None:
            self.reload()

    @staticmethod
    def _may_be_file(text):
        return False

    def reload(self):
        encoding = None if "b" in self._read_flags else "utf-8"
        with open(self.filename, self._read_flags, encoding=encoding) as file:
            self.data = file.read()


class TextDisplayObject(DisplayObject):
    pass


class Pretty(TextDisplayObject):
    def __repr__(self):
        return self.data


class HTML(TextDisplayObject):
    def _repr_html_(self):
        return self.data

    def __html__(self):
        return self.data


class Markdown(TextDisplayObject):
    def _repr_markdown_(self):
        return self.data


class Latex(TextDisplayObject):
    def _repr_latex_(self):
        return self.data


class Math(Latex):
    def _repr_latex_(self):
        return f"$\\displaystyle {self.data.strip('$')}$"


class SVG(TextDisplayObject):
    @staticmethod
    def _may_be_file(text):
        return text.lower().endswith(".svg")

    def _repr_svg_(self):
        return self.data.decode() if isinstance(self.data, bytes) else self.data


class JSON(DisplayObject):
    def _repr_json_(self):
        return self.data


class GeoJSON(JSON):
    pass


class Javascript(TextDisplayObject):
    def _repr_javascript_(self):
        return self.data


class Code(TextDisplayObject):
    def __init__(self, data=None, url=None, filename=None, language=None):
        self.language = language
        super().__init__(data, url, filename)

    def _repr_markdown_(self):
        return f"```{self.language or ''}\n{self.data}\n```"


class Image(DisplayObject):
    """A picture: bytes, a file, or the address of one."""

    _read_flags = "rb"

    def __init__(self, data=None, url=None, filename=None, format=None, embed=None, width=None, height=None, **keywords):
        self.format, self.width, self.height, self.alt = format, width, height, keywords.get("alt")
        super().__init__(data, url, filename)

    @staticmethod
    def _may_be_file(text):
        return True

    def _repr_mimebundle_(self, include=None, exclude=None):
        if isinstance(self.data, str):
            return {"image/svg+xml": self.data} if "<svg" in self.data else {}
        if self.data is None:
            size = "".join(f' {name}="{value}"' for name, value in (("width", self.width), ("height", self.height)) if value)
            return {"text/html": f'<img src="{self.url}"{size}/>', "text/plain": f"Image: {self.url}"}
        if b"<svg" in self.data[:1000]:
            return {"image/svg+xml": self.data.decode()}
        from base64 import b64encode

        return {self._media_type(): b64encode(self.data).decode()}

    def _media_type(self):
        beginnings = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))
        named = {"jpg": "jpeg"}.get(self.format, self.format)
        return "image/" + next((kind for beginning, kind in beginnings if self.data.startswith(beginning)), named or "png")


class _Player(DisplayObject):
    _read_flags = "rb"
    _element = ""

    def __init__(self, data=None, filename=None, url=None, embed=None, rate=None, autoplay=False, mimetype=None, **_):
        self.rate, self.mimetype = rate, mimetype
        super().__init__(data, url, filename)

    @staticmethod
    def _may_be_file(text):
        return True

    def _repr_html_(self):
        source = self.url
        if isinstance(self.data, bytes):
            from base64 import b64encode

            source = f"data:{self.mimetype or self._media_type};base64,{b64encode(self.data).decode()}"
        return f'<{self._element} controls src="{source}"></{self._element}>'


class Video(_Player):
    _element, _media_type = "video", "video/mp4"


class Audio(_Player):
    """Sound: bytes of a file, or samples with their `rate`."""

    _element, _media_type = "audio", "audio/wav"

    def __init__(self, data=None, *arguments, **keywords):
        super().__init__(data, *arguments, **keywords)
        if self.data is not None and not isinstance(self.data, (bytes, str)):
            self.data = self._wave(self.data)

    def _wave(self, samples):
        import io
        import struct
        import wave

        values = [float(value) for value in samples]
        peak = max((abs(value) for value in values), default=0) or 1
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(int(self.rate or 44100))
            file.writeframes(struct.pack(f"<{len(values)}h", *[int(value / peak * 32767) for value in values]))
        return buffer.getvalue()


class IFrame:
    """A page in a frame. A page that is one of the run's own files is included, for only the run
    has it."""

    def __init__(self, src, width="100%", height=400, extras=None, **_):
        self.src, self.width, self.height = src, width, height

    def _repr_html_(self):
        from html import escape
        from os.path import isfile

        source = f'src="{self.src}"'
        if isfile(str(self.src)):
            with open(self.src, encoding="utf-8", errors="replace") as file:
                source = f'srcdoc="{escape(file.read())}"'
        return f'<iframe {source} width="{self.width}" height="{self.height}" frameborder="0" allowfullscreen></iframe>'


class YouTubeVideo(IFrame):
    def __init__(self, id, width=400, height=300, **keywords):
        super().__init__(f"https://www.youtube.com/embed/{id}", width, height, **keywords)


class VimeoVideo(IFrame):
    def __init__(self, id, width=400, height=300, **keywords):
        super().__init__(f"https://player.vimeo.com/video/{id}", width, height, **keywords)


class FileLink:
    """The name of a file. Files that a run is to hand back belong in outputs/."""

    def __init__(self, path, **_):
        self.path = str(path)

    def __repr__(self):
        return self.path


class FileLinks(FileLink):
    pass


class ProgressBar:
    def __init__(self, total):
        self.total, self.progress = total, 0

    def __repr__(self):
        return f"[{self.progress}/{self.total}]"

    def display(self):
        pass

    def update(self):
        pass

    def __iter__(self):
        while self.progress < self.total:
            self.progress += 1
            yield self.progress - 1


def _display_as(kind):
    def show(*objs, raw=False, **_):
        for value in objs:
            display({kind: value}, raw=True) if raw else display(value)

    return show


display_html = _display_as("text/html")
display_markdown = _display_as("text/markdown")
display_latex = _display_as("text/latex")
display_svg = _display_as("image/svg+xml")
display_png = _display_as("image/png")
display_jpeg = _display_as("image/jpeg")
display_json = _display_as("application/json")
display_javascript = _display_as("application/javascript")
display_pretty = _display_as("text/plain")
display_pdf = _display_as("application/pdf")


def set_matplotlib_formats(*formats, **_):
    """Figures are shown as PNG."""


def set_matplotlib_close(close=True):
    """Figures are closed when they are shown."""


__all__ = [
    "Audio", "Code", "DisplayHandle", "DisplayObject", "FileLink", "FileLinks", "GeoJSON", "HTML", "IFrame", "Image", "JSON", "Javascript",
    "Latex", "Markdown", "Math", "Pretty", "ProgressBar", "SVG", "TextDisplayObject", "Video", "VimeoVideo", "YouTubeVideo", "clear_output",
    "display", "display_html", "display_javascript", "display_jpeg", "display_json", "display_latex", "display_markdown", "display_pdf",
    "display_png", "display_pretty", "display_svg", "publish_display_data", "set_matplotlib_close", "set_matplotlib_formats", "update_display",
]  # fmt: skip
