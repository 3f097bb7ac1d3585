"""Writes small but real DICOM whole slide images: one file a level, JPEG tiles, identifiers planted as a scanner's
software does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simplejpeg
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

SLIDE_CLASS = UID("1.2.840.10008.5.1.4.1.1.77.1.6")
CT_CLASS = UID("1.2.840.10008.5.1.4.1.1.2")
TILE = 64
IDENTIFIERS = ("DOE^JANE", "S23-0815", "19570302", "SCN-4711")


def write_dicom_slide(folder: Path, image: np.ndarray, mpp: float = 0.5, levels: int = 2) -> list[Path]:
    """Writes `image` and its halves into `folder`; returns the files, level 0 first."""
    folder.mkdir(parents=True, exist_ok=True)
    series, frame = generate_uid(), generate_uid()
    paths = []
    for number in range(levels):
        level = image[:: 2**number, :: 2**number]
        data = _common(SLIDE_CLASS, JPEGBaseline8Bit, series)
        data.FrameOfReferenceUID = frame
        _describe(data, level, mpp * 2**number, number)
        frames = [
            simplejpeg.encode_jpeg(np.ascontiguousarray(tile), quality=95, colorsubsampling="444")
            for tile in _tiles(level)
        ]
        data.NumberOfFrames = len(frames)
        data.PixelData = encapsulate(frames)
        data["PixelData"].is_undefined_length = True
        paths.append(folder / f"level-{number}.dcm")
        data.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_ct(path: Path) -> Path:
    """A DICOM file of another kind."""
    data = _common(CT_CLASS, ExplicitVRLittleEndian, generate_uid())
    data.Rows = data.Columns = 8
    data.PixelData = bytes(8 * 8 * 2)
    data["PixelData"].VR = "OW"
    data.save_as(path, enforce_file_format=True)
    return path


def _common(kind: UID, syntax: UID, series: UID) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.StudyInstanceUID = series, generate_uid()
    data.PatientName, data.PatientID, data.PatientBirthDate, data.DeviceSerialNumber = IDENTIFIERS
    return data


def _describe(data: Dataset, level: np.ndarray, mpp: float, number: int) -> None:
    height, width = level.shape[:2]
    data.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    if number:
        data.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    data.Modality = "SM"
    data.Rows = data.Columns = TILE
    data.TotalPixelMatrixColumns, data.TotalPixelMatrixRows = width, height
    data.TotalPixelMatrixFocalPlanes = 1
    data.DimensionOrganizationType = "TILED_FULL"
    data.SamplesPerPixel, data.PlanarConfiguration = 3, 0
    data.PhotometricInterpretation = "YBR_FULL_422"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    measures = Dataset()
    measures.PixelSpacing = [mpp / 1000, mpp / 1000]
    groups = Dataset()
    groups.PixelMeasuresSequence = Sequence([measures])
    data.SharedFunctionalGroupsSequence = Sequence([groups])
    path = Dataset()
    path.OpticalPathIdentifier = "1"
    data.OpticalPathSequence = Sequence([path])
    data.NumberOfOpticalPaths = 1


def _tiles(level: np.ndarray) -> list[np.ndarray]:
    height, width = (-(-side // TILE) * TILE for side in level.shape[:2])
    padded = np.full((height, width, 3), 255, np.uint8)
    padded[: level.shape[0], : level.shape[1]] = level
    return [padded[y : y + TILE, x : x + TILE] for y in range(0, height, TILE) for x in range(0, width, TILE)]
