"""Chromium without a window, driven by the DevTools protocol over two pipes: no port, and nothing to install beside it."""

import base64
import fcntl
import json
import os
import select
import subprocess
import tempfile
import time

# Long enough for a loaded machine; nothing waits this long unless something is wrong.
TIMEOUT_S = 60


class Gone(Exception):
    """Chromium has ended, or does not answer."""


class Browser:
    """A Chromium of its own, with an empty profile. `before` are words before its name, such as those that lead into a
    network namespace."""

    def __init__(self, program, before=()):
        self.profile = tempfile.TemporaryDirectory(prefix="webb-browser-")
        ours, theirs = os.pipe(), os.pipe()

        def place():
            # What Chromium reads is its descriptor 3, what it writes is 4.
            read, write = (fcntl.fcntl(of, fcntl.F_DUPFD, 10) for of in (ours[0], theirs[1]))
            os.dup2(read, 3)
            os.dup2(write, 4)

        flags = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--disable-default-apps", "--hide-scrollbars", f"--user-data-dir={self.profile.name}", "about:blank"]
        self.process = subprocess.Popen([*before, program, *flags], preexec_fn=place, close_fds=False,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(ours[0])
        os.close(theirs[1])
        self.write, self.read = ours[1], theirs[0]
        self.rest, self.number, self.events = b"", 0, []

    def close(self):
        """Ends it."""
        os.close(self.write)
        os.close(self.read)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.profile.cleanup()

    def message(self, until):
        """The next message, or None after `until`."""
        while b"\0" not in self.rest:
            if not select.select([self.read], [], [], max(0, until - time.monotonic()))[0]:
                return None
            piece = os.read(self.read, 1 << 20)
            if not piece:
                raise Gone("Chromium has ended")
            self.rest += piece
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, session=None, **arguments):
        """Calls a method and returns its result; events that come meanwhile are kept."""
        self.number += 1
        request = {"id": self.number, "method": method, "params": arguments}
        if session:
            request["sessionId"] = session
        os.write(self.write, json.dumps(request).encode() + b"\0")
        until = time.monotonic() + TIMEOUT_S
        while True:
            message = self.message(until)
            if message is None:
                raise Gone(f"no answer to {method}")
            if message.get("id") == request["id"]:
                if "error" in message:
                    raise Gone(f"{method}: {message['error']['message']}")
                return message["result"]
            if "method" in message:
                self.events.append(message)

    def tab(self):
        """A new tab."""
        return Tab(self)


class Tab:
    """A tab, with all that it asked for and all that it said."""

    def __init__(self, browser):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.target = target
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **arguments):
        return self.browser.call(method, self.session, **arguments)

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)

    def events(self, method):
        """The parameters of all events of this kind."""
        return [of["params"] for of in self.browser.events if of.get("sessionId") == self.session and of["method"] == method]

    def requests(self):
        """Every address that was asked for."""
        return [of["request"]["url"] for of in self.events("Network.requestWillBeSent")]

    def complaints(self):
        """What the console has, and requests that failed."""
        said = [of["entry"]["text"] for of in self.events("Log.entryAdded")]
        said += [" ".join(str(part.get("value", part.get("description"))) for part in of["args"])
                 for of in self.events("Runtime.consoleAPICalled")]
        said += [of["exceptionDetails"]["text"] for of in self.events("Runtime.exceptionThrown")]
        said += [of["errorText"] for of in self.events("Network.loadingFailed") if not of.get("canceled")]
        return said

    def open(self, url):
        """Loads a page, and waits until it is complete."""
        failed = self.call("Page.navigate", url=url).get("errorText")
        if failed:
            raise Gone(f"{url}: {failed}")
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression, context=None):
        """The value of an expression in the page, or in a world of its own."""
        where = {"contextId": context} if context else {}
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, **where)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise Gone(f"{expression[:80]}: {details.get('exception', {}).get('description', details['text'])}")
        return result["result"].get("value")

    def until(self, expression):
        """Waits until an expression is true."""
        until = time.monotonic() + TIMEOUT_S
        while not self.is_true(expression):
            if time.monotonic() > until:
                raise Gone(f"never true: {expression}")
            time.sleep(0.05)

    def is_true(self, expression):
        """Whether an expression is true; not in a page that is being left."""
        try:
            return self.evaluate(expression)
        except Gone as why:
            if "navigated or closed" in str(why):
                return False
            raise

    def world(self):
        """A world of its own: it sees the page's elements, and the page's policy does not bind it."""
        frame = self.call("Page.getFrameTree")["frameTree"]["frame"]["id"]
        return self.call("Page.createIsolatedWorld", frameId=frame, worldName="test")["executionContextId"]

    def look_like(self, width, scheme, height=900):
        """Makes the screen so wide, and the system's colours light or dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def click(self, selector):
        """Clicks in the middle of the first element that fits, by the mouse."""
        box = self.evaluate(f"""(() => {{ const of = document.querySelector({json.dumps(selector)}); of.scrollIntoView({{block: "center"}});
            const box = of.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def picture(self, path):
        """Writes a picture of what is shown."""
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
