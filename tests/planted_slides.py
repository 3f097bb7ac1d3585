"""Slides of several vendors' formats, with what identifies a patient planted wherever the format has room for text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from tests.planted_dicom import write_dicom

NAME, NUMBER, BORN, SCANNER = "DOE^JANE", "S23-0815", "19570302", "SS9981"
WORDS = (NAME, NUMBER, BORN, SCANNER)
ALL = " ".join(WORDS)
_TILED: dict[str, Any] = {"tile": (128, 128), "compression": "jpeg", "photometric": "rgb", "metadata": None}
_FLAT: dict[str, Any] = {"compression": "jpeg", "photometric": "rgb", "metadata": None}
# Make, Model, PageName, Artist, HostComputer, DocumentName, Copyright, ImageUniqueID, then XMP and IPTC as bytes
_TEXTS = (271, 272, 285, 315, 316, 269, 33432, 42016)
_BYTES = (700, 33723)


def _tags(xmp: str = ALL) -> list[tuple[int, int, int, object, bool]]:
    data = xmp.encode()
    texts: list[tuple[int, int, int, object, bool]] = [(code, 2, 0, ALL, True) for code in _TEXTS]
    return texts + [(code, 1, len(data), data, True) for code in _BYTES]


def photograph(height: int, width: int, paper: int = 230) -> np.ndarray:
    """A label or macro image with the patient's name on it."""
    image = np.full((height, width, 3), paper, np.uint8)
    for row, word in enumerate(WORDS):
        cv2.putText(image, word, (4, 18 + 18 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1)
    return image


def _aperio(path: Path, image: np.ndarray, mpp: str = "0.5", power: str = "20") -> None:
    height, width = image.shape[:2]
    head = f"Aperio Image Library v12.0.15 {ALL}\r\n{width}x{height} [0,0 {width}x{height}] (128x128) JPEG/RGB Q=90"
    keys = ("Filename", "Title", "User", "ScanScope ID", "Date", "Time", "ImageID", "Parmset", "DSR ID", NAME)
    facts = "|".join([head, f"AppMag = {power}", f"MPP = {mpp}", *(f"{key} = {ALL}" for key in keys)])
    with tifffile.TiffWriter(path) as tiff:
        about = {"extratags": _tags(), "software": ALL, "datetime": "1957:03:02 10:00:00"}
        tiff.write(image, description=facts, **_TILED, **about)
        tiff.write(image[::4, ::4], description=facts, **_FLAT)
        tiff.write(image[::2, ::2], description=facts, **_TILED)
        for kind, number in (("label", 1), ("macro", 9)):
            text = f"Aperio Image Library v12.0.15\r\n{kind} 160x90|{ALL}"
            tiff.write(photograph(90, 160), subfiletype=number, description=text, **_FLAT)


def _aperio_words_for_numbers(path: Path, image: np.ndarray) -> None:
    _aperio(path, image, mpp="0.5", power=NAME)


def _aperio_words_for_scale(path: Path, image: np.ndarray) -> None:
    _aperio(path, image, mpp=NUMBER)


def _generic(path: Path, image: np.ndarray) -> None:
    with tifffile.TiffWriter(path) as tiff:
        scale = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
        about = {"extratags": _tags(), "software": ALL, "datetime": "1957:03:02 10:00:00", "description": ALL}
        tiff.write(image, **_TILED, **scale, **about)


def _tiled_label(path: Path, image: np.ndarray) -> None:
    """A label that a converter has tiled, in the slide's own shape: OpenSlide takes it for a level."""
    height, width = image.shape[:2]
    label = cv2.resize(photograph(90, 160), (width // 3, height // 3))
    with tifffile.TiffWriter(path) as tiff:
        scale = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
        tiff.write(image, **_TILED, **scale, extratags=_tags(), software=ALL, description=ALL)
        tiff.write(label, **_TILED, **scale, subfiletype=1)


def _leica(path: Path, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    about = f"""<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">
<collection name="{ALL}" uuid="{ALL}" sizeX="{width * 9000}" sizeY="{height * 9000}"><barcode>{ALL}</barcode>
<image name="{ALL}" uuid="{ALL}"><creationDate>1957-03-02T10:00:00Z</creationDate>
<device model="{ALL}" version="{ALL}"/>
<pixels sizeX="{width}" sizeY="{height}"><dimension sizeX="{width}" sizeY="{height}" r="0" ifd="0"/></pixels>
<view sizeX="{width * 500}" sizeY="{height * 500}" offsetX="0" offsetY="0" spacingZ="0"/>
<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>
<numericalAperture>0.4</numericalAperture><illuminationSource>brightfield</illuminationSource>
</illuminationSettings></scanSettings></image></collection></scn>"""
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        scale = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
        tiff.write(image, description=about, **_TILED, **scale, extratags=_tags(), software=ALL)


def _philips(path: Path, image: np.ndarray) -> None:
    def attribute(name: str, kind: str, value: str) -> str:
        return f'<Attribute Name="{name}" Group="0x301D" Element="0x1000" PMSVR="{kind}">{value}</Attribute>'

    def each(name: str, kind: str, inside: str) -> str:
        return attribute(
            name, "IDataObjectArray", f'<Array><DataObject ObjectType="{kind}">{inside}</DataObject></Array>'
        )

    spacing = attribute("DICOM_PIXEL_SPACING", "IDoubleArray", "&quot;0.0005&quot; &quot;0.0005&quot;")
    scanned = attribute("PIM_DP_IMAGE_TYPE", "IString", "WSI") + spacing
    scanned += each("PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE", "PixelDataRepresentation", spacing)
    texts = (
        "DICOM_MANUFACTURER",
        "DICOM_ACQUISITION_DATETIME",
        "DICOM_DEVICE_SERIAL_NUMBER",
        "PIM_DP_UFS_BARCODE",
    )
    about = "".join(attribute(name, "IString", ALL) for name in texts)
    about += each("PIM_DP_SCANNED_IMAGES", "DPScannedImage", scanned)
    xml = f'<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">{about}</DataObject>'
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, description=xml, software="Philips DP v1.0", **_TILED, extratags=_tags())
        tiff.write(photograph(90, 160), description="Label", subfiletype=1, **_FLAT)


def _ventana(path: Path, image: np.ndarray) -> None:
    def joint(way: str, first: int, second: int) -> str:
        place = f'Direction="{way}" Tile1="{first}" Tile2="{second}" OverlapX="0" OverlapY="0"'
        return f'<TileJointInfo FlagJoined="1" Confidence="100" {place}/>'

    image = image[:256, :256]
    joints = joint("RIGHT", 1, 2) + joint("RIGHT", 4, 3) + joint("UP", 2, 3) + joint("UP", 1, 4)
    words = f'BarCode1D="{ALL}" UserName="{ALL}" BuildDate="{ALL}" UnitNumber="{ALL}" SlideAnnotation="{ALL}"'
    scan = f'<iScan ScanRes="0.5" Magnification="20" ScanWhitePoint="235" {words}>'
    first = f'<?xml version="1.0"?><Metadata>{scan}<AOI0 AOIScanned="1"/></iScan></Metadata>'
    area = 'AOIScanned="1" AOIIndex="0" NumRows="2" NumCols="2" Width="128" Height="128" Pos-X="0" Pos-Y="0"'
    second = f"""<?xml version="1.0"?><EncodeInfo Ver="2"><SlideInfo>{scan}</iScan></SlideInfo>
<SlideStitchInfo><ImageInfo {area}>{joints}</ImageInfo></SlideStitchInfo>
<AoiOrigin><AOI0 OriginX="0" OriginY="0"/></AoiOrigin></EncodeInfo>"""
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        label = {"description": "Label_Image", "extratags": _tags(first), "software": ALL}
        tiff.write(photograph(96, 160), rowsperstrip=96, **_FLAT, **label)
        tiff.write(image, description="level=0 mag=20 quality=90", extratags=_tags(second), **_TILED)


def _trestle(path: Path, image: np.ndarray) -> None:
    about = f"Background Color=FFFFFF;White Balance=1;Objective Power=20;Patient={ALL};{NAME}={NUMBER};OverlapsXY= 0 0"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            image, description=about, software="MedScan", resolution=(0.5, 0.5), extratags=_tags(), **_TILED
        )


def _dicom(path: Path, image: np.ndarray) -> None:
    """Of the series' two files the first takes the place of `path`, the second lies beside it."""
    first, second = write_dicom(path.parent / "series", image, 0.5, WORDS, series="88.8159920")
    first.rename(path)
    second.rename(path.with_name(f"{path.stem}-1.dcm"))
    first.parent.rmdir()


# file -> the vendor that OpenSlide tells, and what writes it
PLANTED: dict[str, tuple[str, Callable[[Path, np.ndarray], None]]] = {
    "aperio.svs": ("aperio", _aperio),
    "aperio-power.svs": ("aperio", _aperio_words_for_numbers),
    "aperio-scale.svs": ("aperio", _aperio_words_for_scale),
    "dicom.dcm": ("dicom", _dicom),
    "generic.tif": ("generic-tiff", _generic),
    "generic-label.tif": ("generic-tiff", _tiled_label),
    "leica.scn": ("leica", _leica),
    "philips.tiff": ("philips", _philips),
    "trestle.tif": ("trestle", _trestle),
    "ventana.bif": ("ventana", _ventana),
}


def plant(folder: Path, image: np.ndarray) -> None:
    """Write them all into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, write) in PLANTED.items():
        write(folder / name, image)
