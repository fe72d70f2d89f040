"""Small networks with one peculiarity each, for the probe to find."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def conv(a: int, b: int, kernel: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(a, b, kernel, **{"padding": kernel // 2, **options})


class Hourglass(nn.Module):
    """Convolution, ``levels`` times pooled, ``middle``, upsampled, joined with the first: all 'same'."""

    def __init__(self, middle: nn.Module | None = None, up: nn.Module | None = None, width: int = 4) -> None:
        super().__init__()
        self.stem = conv(1, width)
        self.pool = nn.MaxPool2d(2)
        self.middle = nn.Sequential(conv(width, width), nn.ReLU())
        self.bottleneck = middle or nn.Identity()
        self.up = up or nn.ConvTranspose2d(width, width, 2, stride=2)
        self.head = conv(2 * width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        return self.head(torch.cat([x, self.up(self.bottleneck(self.middle(self.pool(x))))], 1))


class Bottleneck(nn.Module):
    """Something with a name of its own inside."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


class SqueezeExcite(nn.Module):
    """Channel attention by the global mean and maximum."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.mlp = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.mlp(self.mean(x)) + self.mlp(x.amax((2, 3), keepdim=True)))


class ImagePooling(nn.Module):
    """The image-level branch of atrous pyramid pooling."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.project = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = F.interpolate(F.adaptive_avg_pool2d(x, 1), size=x.shape[2:], mode="bilinear", align_corners=False)
        return self.project(torch.cat([x, pooled], 1))


class GatedSkips(nn.Module):
    """A U-Net with channel attention on its skip and image pooling below: global layers, none behind another."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(1, width), nn.BatchNorm2d(width), nn.ReLU())
        self.gate, self.image = SqueezeExcite(width), ImagePooling(width)
        self.below = nn.Sequential(conv(width, width), nn.BatchNorm2d(width), nn.ReLU())
        self.up = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.join = nn.Sequential(conv(2 * width, 2), nn.BatchNorm2d(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.up(self.image(self.below(F.max_pool2d(x, 2))))
        return self.join(torch.cat([self.gate(x), y], 1))


class Coordinates(nn.Module):
    """Two channels from -1 to 1 over whatever input there is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down = torch.linspace(-1, 1, x.shape[2], dtype=x.dtype, device=x.device)[:, None].expand(x.shape[2:])
        right = torch.linspace(-1, 1, x.shape[3], dtype=x.dtype, device=x.device).expand(x.shape[2:])
        return self.conv(torch.cat([x, down[None, None], right[None, None]], 1))


class PaddedSkips(nn.Module):
    """A 'same' U-Net of depth 2 that pads what comes up to its skip, so that it accepts any size."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.enc = nn.ModuleList([conv(1, width), conv(width, width), conv(width, width)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(width, width, 2, stride=2) for _ in range(2)])
        self.dec = nn.ModuleList([conv(2 * width, width), conv(2 * width, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = F.relu(self.enc[0](x))
        second = F.relu(self.enc[1](F.max_pool2d(first, 2)))
        x = F.relu(self.enc[2](F.max_pool2d(second, 2)))
        for up, decode, skip in zip(self.up, self.dec, (second, first), strict=True):
            x = up(x)
            high, wide = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
            x = F.pad(x, [wide // 2, wide - wide // 2, high // 2, high - high // 2])
            x = decode(torch.cat([skip, x], 1))
        return x


class Gate(nn.Module):
    """A leaky rectifier spelled so that NaN takes the second branch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, 0.1 * torch.nan_to_num(x))


class SelfAttention(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(width, 3 * width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).flatten(2).chunk(3, 1)
        return (v @ (q.transpose(1, 2) @ k).softmax(1)).view_as(x)


class PerPixelMlp(nn.Module):
    """Channels last, layer norm and linear layers: local, though everything is flattened on the way."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        y = x.flatten(2).transpose(1, 2)
        return x + self.mlp(self.norm(y)).transpose(1, 2).reshape(n, c, h, w)


class Fcn32(nn.Module):
    """Long, Shelhamer and Darrell's FCN-32s on VGG-16, one channel wide: pad 100, ceiling pools, crop 19."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, pad = 1, 100
        for count in (2, 2, 3, 3, 3):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=pad), nn.ReLU(inplace=True)]
                channels, pad = width, 1
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        layers += [nn.Conv2d(width, width, 7), nn.ReLU(), nn.Dropout(), nn.Conv2d(width, 2, 1)]
        self.body = nn.Sequential(*layers)
        self.up = nn.ConvTranspose2d(2, 2, 64, stride=32, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.body(x))[:, :, 19:19 + x.shape[2], 19:19 + x.shape[3]]


class NestedUNet(nn.Module):
    """UNet++ of depth 4 with bilinear upsampling: node (i, j) joins (i, 0..j-1) and (i+1, j-1)."""

    def __init__(self, align_corners: bool = False, width: int = 2) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=align_corners)
        self.nodes = nn.ModuleDict({
            f"{i}{j}": nn.Sequential(conv(width * (j + 1) if j else (width if i else 1), width), nn.ReLU(),
                                     conv(width, width), nn.ReLU())
            for j in range(5) for i in range(5 - j)
        })
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows: list[list[torch.Tensor]] = []
        for i in range(5):
            rows.append([self.nodes[f"{i}0"](F.max_pool2d(rows[-1][0], 2) if i else x)])
            for j in range(1, i + 1):
                row = rows[i - j]
                row.append(self.nodes[f"{i - j}{j}"](torch.cat([*row, self.up(rows[i - j + 1][j - 1])], 1)))
        return torch.sigmoid(self.head(rows[0][4]))


class Strided(nn.Module):
    """3x3 convolutions of stride 2 and padding 1, as in residual encoders: even sizes, never lossless."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first, self.second = conv(1, width, stride=2), conv(width, width, stride=2)
        self.up = nn.Upsample(scale_factor=2)
        self.join = conv(2 * width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = F.relu(self.first(x))
        return self.up(self.join(torch.cat([first, self.up(F.relu(self.second(first)))], 1)))


class Anisotropic(nn.Module):
    """(z, y, x) network that pools y and x only, with valid convolutions along z."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, width, (1, 3, 3), padding=(0, 1, 1))
        self.deep = nn.Conv3d(width, width, 3, padding=(0, 1, 1))
        self.up = nn.ConvTranspose3d(width, width, (1, 2, 2), stride=(1, 2, 2))
        self.head = nn.Conv3d(2 * width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.stem(x))
        y = self.up(F.leaky_relu(self.deep(F.max_pool3d(x, (1, 2, 2)))))
        return self.head(torch.cat([x[:, :, 1:-1], y], 1))


class Causal(nn.Module):
    """Each voxel looks at itself, three rows above and five columns to the right; nothing is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, (4, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(x, [0, 5, 3, 0]))


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = conv(1, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).mean((2, 3)))


class Lambda(nn.Module):
    """A module of one function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class ToTheSkip(nn.Module):
    """Interpolates to the size that it has at that moment, which a file of one size holds as a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        small = F.max_pool2d(x, 2)
        return self.head(torch.cat([x, F.interpolate(small, size=x.shape[2:], mode="bilinear")], 1))
