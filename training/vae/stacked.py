"""M1+M2: the codes of a VAE lie in classes, and the whole stack is trained at once."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from training.config import DataConfig, VaeConfig
from training.nets.labels import Labels
from training.probability.labelled_prior import LabelledMixturePrior
from training.probability.posterior import Posterior
from training.vae.model import Evidence, VariationalAutoencoder


class StackedVariationalAutoencoder(VariationalAutoencoder):
    """p(y) p(k|y) p(z|y,k) p(x|z): the stack M1+M2 of Kingma et al. 2014, section 3.1, whose second layer is a mixture.

    Beside the class y, the second latent is the component k, and both are summed exactly; the codes z are the latent
    that is served. What makes the stack cheap is that encoder and decoder know no label, so that one draw of z serves
    every class. The paper trains M1 first and freezes it; here the codes move into the classes while they are learned.
    """

    prior: LabelledMixturePrior

    @classmethod
    def from_config(cls, config: VaeConfig, data: DataConfig, *, classes: int = 0) -> StackedVariationalAutoencoder:
        """The model that an experiment describes, freshly initialised from torch's global generator."""
        plain = VariationalAutoencoder.from_config(config.model_copy(update={"conditional": False}), data)
        model = cls(plain.encoder, plain.decoder, plain.likelihood, plain.latent_size, plain.family)
        model.prior = LabelledMixturePrior(config.latent_size, classes, config.prior.components)
        return model

    @property
    def classes(self) -> int:
        """How many classes a label chooses from."""
        return self.prior.classes

    def posterior(self, image: Float[Tensor, "batch c h w"], label: Labels | None = None) -> Posterior:
        """q(z|x): whatever the label."""
        posterior: Posterior = self.family(self.encoder(image).float())
        return posterior

    def sample(self, noise: Float[Tensor, "batch noise"], label: Labels | None = None) -> Float[Tensor, "batch c h w"]:
        """E[x|z] at latents of the given classes."""
        return self.decode(self.prior.from_noise(noise, label))

    def joint(
        self,
        image: Float[Tensor, "batch c h w"],
        latent: Float[Tensor, "batch samples size"],
        log_posterior: Float[Tensor, "batch samples"],
        label: Labels | None = None,
    ) -> Evidence:
        """log p(x|z) and log p(z|y) of each image's latents, beside their given log q(z|x)."""
        if label is None:
            raise ValueError("this model needs labels")
        log_prior = self.prior.log_density_by_label(latent)  # (B, K, classes)
        chosen = log_prior.gather(2, label[:, None, None].expand(-1, latent.shape[1], 1))[..., 0]
        return Evidence(self.log_likelihood(image, latent), chosen, log_posterior)

    def evidence_by_label(self, image: Float[Tensor, "batch c h w"], noise: Float[Tensor, "batch size"]) -> Evidence:
        """The log terms of one draw under every label, each (B, classes), at the cost of one."""
        latent, log_posterior = self.posterior(image).draw(noise[:, None])
        return Evidence(
            self.log_likelihood(image, latent).expand(-1, self.classes),
            self.prior.log_density_by_label(latent[:, 0]),
            log_posterior.expand(-1, self.classes),
        )

    def _decoded(self, latent: Float[Tensor, "batch size"], label: Labels | None) -> Float[Tensor, "batch c h w"]:
        """The likelihood's parameters at each latent, whatever the label."""
        output: Tensor = self.decoder(latent).float()
        return output
