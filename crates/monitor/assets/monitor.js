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
