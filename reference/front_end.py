"""The convolutional front end: 100 mel frames a second become 25 (or 50) feature vectors."""

from torch import Tensor, nn


class Res2dModule(nn.Module):
    """Residual 3x3 convolutions with a strided, convolved shortcut.

    Upstream's shortcut is the identity when neither width nor stride change; MuQ always
    halves the frequency axis, so here it is always a convolution.
    """

    def __init__(self, in_channels: int, channels: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1)
        self.bn3 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, mels, frames) -> both axes divided by the stride, rounded up."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.bn3(self.conv3(x)))


class Conv2dSubsampling(nn.Module):
    """Two residual blocks, then a linear layer over (channel, band)."""

    def __init__(self, channels: int, width: int, frames_per_step: int, n_mels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            Res2dModule(1, channels, (2, 2)),
            Res2dModule(channels, channels, (2, frames_per_step // 2)),
        )
        self.linear = nn.Linear(channels * n_mels // 4, width)

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, mels, frames) -> (batch, steps, width)."""
        y = self.conv(log_mel.unsqueeze(1))
        return self.linear(y.flatten(1, 2).transpose(1, 2))
