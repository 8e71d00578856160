"""Glide from one sample to another and save the way as a GIF: python walk.py [ADDRESS] [MODEL]"""

import sys
from pathlib import Path

import httpx

address, model = sys.argv[1:] or ("http://127.0.0.1:8000", "mnist_vae")

with httpx.Client(base_url=f"{address}/v1/models/{model}/", timeout=30) as service:
    drawn = service.post("sample", json={"count": 2, "seed": 7}).raise_for_status().json()
    a, b = (image["latent"] for image in drawn["images"])

    walk = {"points": [{"latent": a}, {"latent": b}], "steps": 24, "loop": True}
    gif = service.post("interpolate?format=gif", json=walk).raise_for_status()
    Path("walk.gif").write_bytes(gif.content)

    half = [(one + other) / 2 for one, other in zip(a, b, strict=True)]
    png = service.post("decode?format=png", json={"latents": [half]}).raise_for_status().content
    scored = service.post("score", content=png, headers={"Content-Type": "image/png"}).raise_for_status().json()
    (score,) = scored["scores"]

print(f"walk.gif: {len(gif.content)} bytes. Half way: ELBO {score['elbo_nats']:.1f} nats,")
print(f"higher than {score['percentile']} % of held-out pictures.")
