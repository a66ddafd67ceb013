"""XMP in which many programs write who is in a picture, who took it, with what, and where: each value is SECRET."""

from __future__ import annotations

NAMESPACES = """
Camera http://pix4d.com/camera/1.0/
GCreations http://ns.google.com/photos/1.0/creations/
MP http://ns.microsoft.com/photo/1.2/
MPRI http://ns.microsoft.com/photo/1.2/t/RegionInfo#
MPReg http://ns.microsoft.com/photo/1.2/t/Region#
MicrosoftPhoto http://ns.microsoft.com/photo/1.0/
acdsee http://ns.acdsee.com/iptc/1.0/
acdsee-rs http://ns.acdsee.com/regions/
acdsee-stArea http://ns.acdsee.com/sType/Area#
apple-fi http://ns.apple.com/faceinfo/1.0/
crs http://ns.adobe.com/camera-raw-settings/1.0/
digiKam http://www.digikam.org/ns/1.0/
drone-dji http://www.dji.com/drone-dji/1.0/
expressionmedia http://ns.microsoft.com/expressionmedia/1.0/
geo http://www.w3.org/2003/01/geo/wgs84_pos#
getty http://xmp.gettyimages.com/gift/1.0/
ics http://ns.idimager.com/ics/1.0/
lr http://ns.adobe.com/lightroom/1.0/
mediapro http://ns.iview-multimedia.com/mediapro/1.0/
mwg-kw http://www.metadataworkinggroup.com/schemas/keywords/
mwg-rs http://www.metadataworkinggroup.com/schemas/regions/
photomechanic http://ns.camerabits.com/photomechanic/1.0/
picasa http://ns.google.com/photos/1.0/faces/
plus http://ns.useplus.org/ldf/xmp/1.0/
prism http://prismstandard.org/namespaces/basic/2.0/
stArea http://ns.adobe.com/xmp/sType/Area#
stEvt http://ns.adobe.com/xap/1.0/sType/ResourceEvent#
stRef http://ns.adobe.com/xap/1.0/sType/ResourceRef#
xmpDM http://ns.adobe.com/xmp/1.0/DynamicMedia/
xmpMM http://ns.adobe.com/xap/1.0/mm/
"""
PERSONAL_SPACES = " ".join(f'xmlns:{line.split()[0]}="{line.split()[1]}"' for line in NAMESPACES.strip().splitlines())

_LISTS = """
Iptc4xmpExt:PersonInImage Iptc4xmpExt:OrganisationInImageName Iptc4xmpExt:PersonHeard mediapro:People
mediapro:CatalogSets dc:subject dc:creator dc:contributor dc:publisher dc:relation lr:hierarchicalSubject
lr:weightedFlatSubject digiKam:TagsList digiKam:CaptionsAuthorNames MicrosoftPhoto:LastKeywordXMP
MicrosoftPhoto:LastKeywordIPTC prism:person acdsee:people acdsee:keywords photoshop:SupplementalCategories
getty:Personality expressionmedia:People ics:TagStructure plus:ModelReleaseID xmpRights:Owner Iptc4xmpExt:ModelAge
tiff:Artist crs:PaintBasedCorrections picasa:Faces
"""
_TEXTS = """
aux:OwnerName aux:SerialNumber aux:LensSerialNumber aux:ImageNumber exifEX:BodySerialNumber exifEX:LensSerialNumber
exifEX:CameraOwnerName exif:ImageUniqueID exif:SubjectArea exif:SubjectLocation exif:GPSAreaInformation
exif:RelatedSoundFile photoshop:CaptionWriter photoshop:Credit photoshop:Source photoshop:AuthorsPosition
photoshop:TransmissionReference photoshop:DocumentAncestors xmpRights:WebStatement xmpMM:DocumentID xmpMM:InstanceID
xmpMM:OriginalDocumentID crs:RawFileName acdsee:author acdsee:caption acdsee:notes acdsee:city acdsee:location
xmp:Nickname xmp:Identifier xmp:BaseURL dc:source dc:identifier dc:format MicrosoftPhoto:CameraSerialNumber
MicrosoftPhoto:Location drone-dji:DroneSerialNumber drone-dji:GpsLatitude drone-dji:RelativeAltitude Camera:BandName
Camera:GPSXYAccuracy GPano:CaptureSoftware GPano:StitchingSoftware mediapro:Event mediapro:Location
plus:ImageSupplierName plus:ImageCreatorName Iptc4xmpExt:Event Iptc4xmpExt:RegistryId Iptc4xmpExt:DigImageGUID
Iptc4xmpCore:Scene Iptc4xmpCore:CiAdrCity photomechanic:Prefs digiKam:ImageUniqueID digiKam:GPSAltitude geo:lat
geo:long geo:alt prism:location prism:creator ics:Location xmpDM:shotLocation xmpDM:artist GCreations:CameraBurstID
"""
PERSONAL = (
    "".join(f"<{name}><rdf:Bag><rdf:li>SECRET</rdf:li></rdf:Bag></{name}>" for name in _LISTS.split())
    + "".join(f"<{name}>SECRET</{name}>" for name in _TEXTS.split())
    + """
<acdsee-rs:Regions rdf:parseType="Resource"><acdsee-rs:RegionList><rdf:Bag><rdf:li rdf:parseType="Resource">
<acdsee-rs:Name>SECRET</acdsee-rs:Name><acdsee-rs:ALGArea acdsee-stArea:x="0.31415"/></rdf:li></rdf:Bag>
</acdsee-rs:RegionList></acdsee-rs:Regions>
<Iptc4xmpExt:ImageRegion><rdf:Bag><rdf:li rdf:parseType="Resource"><Iptc4xmpExt:Name>SECRET</Iptc4xmpExt:Name>
<Iptc4xmpExt:RegionBoundary Iptc4xmpExt:rbX="0.31415"/></rdf:li></rdf:Bag></Iptc4xmpExt:ImageRegion>
<Iptc4xmpExt:PersonInImageWDetails><rdf:Bag><rdf:li rdf:parseType="Resource"><Iptc4xmpExt:PersonName><rdf:Alt>
<rdf:li xml:lang="en">SECRET</rdf:li></rdf:Alt></Iptc4xmpExt:PersonName></rdf:li></rdf:Bag>
</Iptc4xmpExt:PersonInImageWDetails>
<Iptc4xmpExt:ArtworkOrObject><rdf:Bag><rdf:li Iptc4xmpExt:AOCreator="SECRET"/></rdf:Bag></Iptc4xmpExt:ArtworkOrObject>
<Iptc4xmpCore:CreatorContactInfo Iptc4xmpCore:CiAdrCity="SECRET" Iptc4xmpCore:CiEmailWork="SECRET"/>
<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:RegionList><rdf:Bag><rdf:li><rdf:Description mwg-rs:Name="SECRET"
 mwg-rs:Type="Face"><mwg-rs:Area stArea:x="0.31415"/></rdf:Description></rdf:li></rdf:Bag></mwg-rs:RegionList>
</mwg-rs:Regions>
<mwg-kw:Keywords rdf:parseType="Resource"><mwg-kw:Hierarchy><rdf:Bag><rdf:li mwg-kw:Keyword="SECRET"/></rdf:Bag>
</mwg-kw:Hierarchy></mwg-kw:Keywords>
<MP:RegionInfo rdf:parseType="Resource"><MPRI:Regions><rdf:Bag><rdf:li MPReg:PersonDisplayName="SECRET"
 MPReg:PersonEmailDigest="SECRET" MPReg:Rectangle="0.31415, 0.2, 0.1, 0.1"/></rdf:Bag></MPRI:Regions></MP:RegionInfo>
<apple-fi:Regions rdf:parseType="Resource"><apple-fi:FaceID>SECRET</apple-fi:FaceID></apple-fi:Regions>
<xmpMM:History><rdf:Seq><rdf:li stEvt:instanceID="SECRET" stEvt:softwareAgent="SECRET"/></rdf:Seq></xmpMM:History>
<xmpMM:DerivedFrom stRef:documentID="SECRET" stRef:filePath="SECRET"/>
"""
)
