// Keeps the wall fresh. Everything can be read without it.

const wall = document.getElementById("wall");
if (wall) {
    const lost = document.getElementById("lost");
    let asking = false;

    // Takes what differs from the new wall; pictures that are the same are not loaded again.
    const update = (fresh) => {
        const tiles = wall.querySelector("ul.tiles");
        const newTiles = fresh.querySelector("ul.tiles");
        const old = new Map([...tiles.children].map((tile) => [tile.dataset.id, tile]));
        for (const notice of wall.querySelectorAll(":scope > p")) notice.remove();
        for (const notice of fresh.querySelectorAll(":scope > p")) tiles.before(notice);
        const order = [...newTiles.children].map((tile) => {
            const known = old.get(tile.dataset.id);
            if (!known) return tile;
            old.delete(tile.dataset.id);
            known.dataset.rank = tile.dataset.rank;
            const [before, after] = [".facts", ".facts"].map((part, index) => (index ? tile : known).querySelector(part));
            if (before.innerHTML !== after.innerHTML && !before.contains(document.activeElement)) before.replaceWith(after);
            const [picture, newPicture] = [known, tile].map((one) => one.querySelector(".picture"));
            const [image, newImage] = [picture, newPicture].map((one) => one.querySelector("img"));
            if (image && newImage) {
                image.className = newImage.className;
                if (image.dataset.at !== newImage.dataset.at) {
                    image.dataset.at = newImage.dataset.at;
                    image.src = newImage.getAttribute("src");
                }
            } else if (picture.innerHTML !== newPicture.innerHTML) {
                picture.replaceChildren(...newPicture.childNodes);
            }
            return known;
        });
        for (const gone of old.values()) gone.remove();
        order.forEach((tile, index) => {
            if (tiles.children[index] !== tile) tiles.insertBefore(tile, tiles.children[index] ?? null);
        });
    };

    const refresh = async () => {
        if (asking || document.hidden) return;
        asking = true;
        try {
            const answer = await fetch(wall.dataset.live, { redirect: "manual" });
            // The session is over.
            if (answer.type === "opaqueredirect") return location.reload();
            if (answer.ok) {
                const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
                update(fresh);
            }
        } catch {
            lost.hidden = false;
        } finally {
            asking = false;
        }
    };

    const pulse = new EventSource(wall.dataset.pulse);
    pulse.addEventListener("pulse", () => {
        lost.hidden = true;
        refresh();
    });
    pulse.addEventListener("error", () => { lost.hidden = false; });
}

// A clip: boxes over its picture, and its score line with the place that is shown.
for (const section of document.querySelectorAll("section.clip")) {
    const video = section.querySelector("video");
    if (!video) continue;
    const [boxes, line, now, share] = [".boxes", ".seek", ".now", ".share"].map((part) => section.querySelector(part));
    const SVG = "http://www.w3.org/2000/svg";
    // A report holds until the next one, but no longer than this many seconds.
    const HOLDS = 1.5;
    let reports = [];

    const score = (report) => Math.max(...report.faces.filter((face) => face.score != null).map((face) => face.score));

    // The newest report that is not later than this.
    const reportAt = (time) => {
        let [low, high] = [0, reports.length];
        while (low < high) {
            const middle = (low + high) >> 1;
            if (reports[middle].clip_time <= time) low = middle + 1;
            else high = middle;
        }
        const found = reports[low - 1];
        return found && time - found.clip_time <= HOLDS ? found : undefined;
    };

    const draw = () => {
        line.replaceChildren();
        if (!(video.duration > 0)) return;
        const add = (kind, attributes) => {
            const element = document.createElementNS(SVG, kind);
            for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
            line.append(element);
            return element;
        };
        const place = (time) => (1000 * time) / video.duration;
        let points = [];
        const flush = () => {
            if (points.length) add("polyline", { points: points.join(" ") });
            points = [];
        };
        reports.forEach((report, index) => {
            const height = score(report);
            if (!Number.isFinite(height)) return flush();
            const next = reports[index + 1]?.clip_time ?? Infinity;
            const until = Math.min(next, report.clip_time + HOLDS, video.duration);
            for (const time of [report.clip_time, until]) points.push(`${place(time).toFixed(2)},${(20 - 20 * height).toFixed(2)}`);
            if (until < next) flush();
        });
        flush();
        add("line", { class: "cursor", y1: 0, y2: 20, x1: 0, x2: 0 });
        show();
    };

    const show = () => {
        const time = video.currentTime;
        const cursor = line.querySelector(".cursor");
        const x = video.duration > 0 ? (1000 * time) / video.duration : 0;
        cursor?.setAttribute("x1", x);
        cursor?.setAttribute("x2", x);
        const report = reportAt(time);
        boxes.replaceChildren(...(report?.faces ?? []).filter((face) => face.seen !== false).map((face) => {
            const box = document.createElement("div");
            box.className = `box ${face.state}`;
            const sides = { left: face.x, top: face.y, width: face.width, height: face.height };
            for (const [side, share] of Object.entries(sides)) box.style[side] = `${100 * share}%`;
            box.textContent = face.score == null ? face.state : `${face.state} ${face.score.toFixed(2)}`;
            return box;
        }));
        const highest = report ? score(report) : NaN;
        now.textContent = `${time.toFixed(1)} s · ${Number.isFinite(highest) ? `score ${highest.toFixed(2)}` : "not judged here"}`;
        share.href = `#${section.id}=${time.toFixed(1)}`;
        share.hidden = false;
    };

    // While it plays, in step with each picture.
    const follow = () => {
        show();
        if (!video.paused && !video.ended) requestAnimationFrame(follow);
    };
    video.addEventListener("play", follow);
    for (const change of ["seeked", "pause", "timeupdate"]) video.addEventListener(change, show);
    for (const change of ["loadedmetadata", "durationchange"]) video.addEventListener(change, draw);
    line.addEventListener("click", (event) => {
        const sides = line.getBoundingClientRect();
        if (video.duration > 0) video.currentTime = (video.duration * (event.clientX - sides.left)) / sides.width;
    });

    const seekToLink = () => {
        const [id, second] = location.hash.slice(1).split("=");
        if (id !== section.id || !(Number(second) >= 0)) return;
        section.scrollIntoView();
        video.currentTime = Number(second);
    };
    video.addEventListener("loadedmetadata", seekToLink, { once: true });
    addEventListener("hashchange", seekToLink);

    const load = async () => {
        const answer = await fetch(video.dataset.reports);
        if (!answer.ok) return;
        // The last line of a clip that was cut off may be half a line.
        reports = (await answer.text()).split("\n").flatMap((text) => {
            try { return text ? [JSON.parse(text)] : []; } catch { return []; }
        });
        draw();
    };
    load();
    if (video.readyState >= 1) {
        draw();
        seekToLink();
    }
}
