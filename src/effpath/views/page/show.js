"use strict";
(() => {
  const scene = JSON.parse(document.getElementById("scene").textContent);
  const svg = document.getElementById("path"), told = document.getElementById("told");
  const NAME = 20, GAP = 60, TALLEST = 170, LEVELS = 4, PAPER = 680, SHORT = 700;
  let width = 0, rows = [];

  const escaped = text => text.replace(/[&<>"]/g, letter => `&#${letter.charCodeAt(0)};`);
  const written = count => count.toLocaleString("en").replaceAll(",", "\u202f");
  const counted = (count, what) => `${written(count)} ${what}${count === 1 ? "" : "s"}`;
  const between = (low, value, high) => Math.min(high, Math.max(low, value));

  // Where the nodes of a row lie: `spot(node)` is the upper left corner of a square with sides of `cell`.
  function placed(row, place, y) {
    const [channels, high, wide] = row.shape;
    const image = place === 0, squares = high * wide === 1;
    let cell, tile, tall;
    if (image) {
      cell = between(1, Math.min(width, 224) / wide, 224);
      [tile, tall] = [wide * cell, high * cell];
      if (scene.by === "channels") cell = tile = tall = Math.min(width, 224);
    } else if (squares) {
      cell = between(4, Math.floor(width / channels), 16);
      tile = tall = cell;
    } else {
      for (cell of [8, 6, 5, 4, 3, 2.5, 2, 1.5, 1]) {
        [tile, tall] = [wide * cell + 5, high * cell + 5];
        if (tile <= width && Math.ceil(channels / Math.floor(width / tile)) * tall <= TALLEST) break;
      }
    }
    const across = between(1, Math.floor(width / tile), channels), lines = Math.ceil(channels / across);
    const left = (width - across * tile) / 2, top = y + NAME;
    const spot = node => {
      const channel = Math.floor(node / (high * wide)), inside = node % (high * wide);
      return [
        left + (channel % across) * tile + (inside % wide) * cell,
        top + Math.floor(channel / across) * tall + Math.floor(inside / wide) * cell,
      ];
    };
    return { row, place, spot, cell, tile, tall, across, left, top, end: top + lines * tall, squares, image };
  }

  function square([x, y], side) {
    return `M${x.toFixed(1)} ${y.toFixed(1)}h${side}v${side}h${-side}z`;
  }

  function line(from, source, to, target) {
    const [x, y] = from.spot(source), [u, v] = to.spot(target);
    const half = from.cell / 2, other = to.cell / 2;
    return `M${(x + half).toFixed(1)} ${(y + from.cell).toFixed(1)}L${(u + other).toFixed(1)} ${v.toFixed(1)}`;
  }

  // Where a node, or a line, stands between the weakest and the strongest of its row, in [0, 1]. A line of one
  // synapse is the weakest there is, even where all are; a node on the path is strong where all are alike.
  const ofNode = (value, most) => Math.sqrt(value / most);
  const ofLine = (value, most) => most > 1 ? Math.log(value) / Math.log(most) : 0;

  // Paths of one class each, by how strong their members are: few elements, whatever the number of lines.
  function levels(kind, members, values, strength, opacity = null) {
    const most = values.reduce((high, value) => Math.max(high, value), 1);
    const parts = Array.from({ length: LEVELS }, () => []);
    members.forEach((member, at) => {
      const value = values.length ? strength(values[at], most) : 1;
      parts[Math.min(LEVELS - 1, Math.floor(value * LEVELS))].push(member);
    });
    return parts.map((part, level) => part.length
      ? `<path class="${kind} level-${level}"${opacity ? ` style="opacity:${opacity}"` : ""} d="${part.join("")}"/>` : "").join("");
  }

  function ground(one) {
    const { row, left, top, end, tile, tall, across, cell, squares, image } = one;
    if (image) {
      const [side, high] = [tile, tall];
      return `<image href="${scene.picture}" x="${left}" y="${top}" width="${side}" height="${high}" preserveAspectRatio="none"/>`;
    }
    if (squares) return `<rect class="ground" x="${left}" y="${top}" width="${across * tile}" height="${end - top}"/>`;
    return Array.from({ length: row.shape[0] }, (_, channel) => {
      const [x, y] = one.spot(channel * row.shape[1] * row.shape[2]);
      return `<rect class="ground" x="${x}" y="${y}" width="${row.shape[2] * cell}" height="${row.shape[1] * cell}"/>`;
    }).join("");
  }

  function caption(one) {
    const { row, place, top } = one, last = place === scene.rows.length - 1;
    const what = place === 0 ? "pixel values" : "neurons";
    const ending = last ? `: class ${scene.title}` : "";
    const text = `${row.name} (${written(row.active)} of ${written(row.neurons)} ${what})${ending}`;
    return `<text class="name" x="0" y="${top - 6}">${escaped(text)}</text>`;
  }

  function draw() {
    let y = 0;
    rows = scene.rows.map((row, place) => {
      const one = placed(row, place, y);
      y = one.end + GAP;
      return one;
    });
    const lines = scene.lines.map(part => levels(
      scene.by === "channels" ? "line" : "line thin",
      part.outputs.map((output, at) => line(rows[part.source], part.inputs[at], rows[part.row], output)),
      part.synapses,
      ofLine,
      between(0.08, 8 / Math.sqrt(part.outputs.length), 0.5).toFixed(2),
    ));
    const nodes = rows.map(one => one.image && scene.by === "channels" ? "" : levels(
      one.image ? "pixel" : "node",
      one.row.nodes.map(node => square(one.spot(node), Math.max(1, one.cell > 3 ? one.cell - 1 : one.cell))),
      one.row.weights,
      ofNode,
    ));
    svg.setAttribute("viewBox", `0 0 ${width} ${y - GAP + 8}`);
    const [image, ...others] = rows;
    svg.innerHTML = [...others.map(ground), ...lines, ground(image), ...nodes, ...rows.map(caption), '<g id="chosen"></g>'].join("");
  }

  function nearest(x, y) {
    let best = null, least = 12 * 12;
    for (const one of rows) {
      if (y < one.top - 12 || y > one.end + 12) continue;
      for (const node of one.row.nodes) {
        const [left, top] = one.spot(node), half = one.cell / 2;
        const distance = (left + half - x) ** 2 + (top + half - y) ** 2;
        const inside = x >= left && x <= left + one.cell && y >= top && y <= top + one.cell;
        if (inside || distance < least) [best, least] = [[one, node], inside ? -1 : distance];
      }
    }
    return best;
  }

  function called(one, node) {
    const [, high, wide] = one.row.shape, inside = node % (high * wide);
    const place = `row ${Math.floor(inside / wide) + 1}, column ${inside % wide + 1}`;
    if (one.image) return scene.by === "channels" ? "the image" : `pixel in ${place}`;
    const channel = Math.floor(node / (high * wide));
    if (scene.by === "channels") {
      const active = one.row.weights[one.row.nodes.indexOf(node)];
      return `${one.row.name}, channel ${channel}: ${counted(active, "neuron")} on the path`;
    }
    return one.squares ? `${one.row.name}, neuron ${channel}` : `${one.row.name}, channel ${channel}, ${place}`;
  }

  function choose(found) {
    const chosen = document.getElementById("chosen");
    if (!found) {
      chosen.innerHTML = told.textContent = "";
      return;
    }
    const [one, node] = found, drawn = [];
    let reads = 0, read = 0;
    for (const part of scene.lines) {
      if (part.row !== one.place && part.source !== one.place) continue;
      part.outputs.forEach((output, at) => {
        const input = part.inputs[at], synapses = part.synapses.length ? part.synapses[at] : 1;
        const ends = part.row === one.place && output === node, starts = part.source === one.place && input === node;
        if (!ends && !starts) return;
        if (ends) reads += synapses;
        if (starts) read += synapses;
        drawn.push(line(rows[part.source], input, rows[part.row], output));
      });
    }
    chosen.innerHTML = `<path class="chosen" d="${drawn.join("")}"/><path class="chosen node" d="${square(one.spot(node), one.cell)}"/>`;
    const joined = [`${counted(reads, "synapse")} from its inputs`, `${counted(read, "synapse")} to what reads it`];
    const shown = scene.by === "channels" ? " (of the lines drawn)" : "";
    told.textContent = `${called(one, node)}; ${joined.slice(one.image ? 1 : 0).join(", ")}${shown}.`;
  }

  function point(event) {
    const box = svg.getBoundingClientRect(), scale = width / box.width;
    choose(nearest((event.clientX - box.left) * scale, (event.clientY - box.top) * scale));
  }

  function resize() {
    const now = Math.floor(svg.parentElement.clientWidth - parseFloat(getComputedStyle(svg.parentElement).paddingLeft) * 2);
    if (now > 0 && now !== width) {
      width = now;
      draw();
    }
  }

  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", event => event.pointerType === "mouse" && choose(null));
  new ResizeObserver(resize).observe(svg.parentElement);
  resize();

  // On paper the drawing has the width of a page, so that its names are as large as other text. One that is little
  // longer than the page is made to fit below the title; a longer one goes on from page to page.
  addEventListener("beforeprint", () => {
    width = PAPER;
    draw();
    if (rows.at(-1).end < 2 * SHORT) svg.style.maxHeight = `${SHORT}px`;
  });
  addEventListener("afterprint", () => {
    svg.style.maxHeight = "";
    resize();
  });
})();
