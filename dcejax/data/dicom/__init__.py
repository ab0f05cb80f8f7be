"""DICOM in and out; needs the packages of the extra `dicom`."""
