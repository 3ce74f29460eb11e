"""Which files of a folder are worth opening: the suffixes that an installed reader decodes."""

from importlib.util import find_spec

_OF_LIBSNDFILE = (
    ".aif .aifc .aiff .au .caf .flac .mp2 .mp3 .oga .ogg .opus .rf64 .snd .voc .w64 .wav"
)
_OF_FFMPEG = (
    ".3g2 .3gp .aac .ac3 .amr .ape .asf .avi .dff .dsf .dts .eac3 .ec3 .f4a .f4v .flv .m2a .m4a "
    ".m4b .m4r .m4v .mk3d .mka .mkv .mov .mp4 .mpa .mpc .mpeg .mpg .spx .tak .ts .tta .webm .wma "
    ".wmv .wv"
)


def decodable_suffixes() -> frozenset[str]:
    """The suffixes, in lower case and with their dots, of what can be decoded here.

    libsndfile is always installed; FFmpeg only with PyAV, the extra ``av``. A file that is named
    by the user is opened whatever its suffix.
    """
    found = f"{_OF_LIBSNDFILE} {_OF_FFMPEG}" if find_spec("av") else _OF_LIBSNDFILE
    return frozenset(found.split())


def suffixes_of_av() -> frozenset[str]:
    """The suffixes that the extra ``av`` adds, whether it is installed or not."""
    return frozenset(_OF_FFMPEG.split())
